"""The web side of the service: who may ask what, how much at once, and what is said when it cannot be answered.

request ──▶ Front: size, encoding, depth, key or token, role, rate ──▶ handler ──▶ lanes of `serving.predict`
                └── every refusal: a status, {"error": {"code", "message", "where"}}, and a message that says what to do

`Front` answers all routes itself but BentoML's own pages, which go to BentoML behind it. The OpenAPI document is made
from the routes and from the forms that really are read. `Worker` begins, and tells what is missing until it can.
"""
