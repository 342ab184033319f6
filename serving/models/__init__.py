"""The bundles that the service runs: several fleets and versions at once, replaced without dropping a request.

sources (folders, the MLflow registry) ──offers──▶ Catalogue.refresh(), in the background ──▶ Shelf, immutable
                                                                                              └─▶ find(name, version)

A request takes its `Served` from the shelf once and keeps it to its end: another bundle on the shelf meanwhile is for
the requests that come after it. A bundle that cannot be used is refused, told, and the one before it stays.
"""
