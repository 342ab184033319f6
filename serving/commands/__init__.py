"""Set-points from people, through the centre, signed, to gateways; at most once, with their whole history.

person ──POST──▶ service: `make`, `approve`, `cancel` ──▶ database ──▶ hub: `send`, signs ──▶ gateway ──▶ machine
                                                             ▲                                  │
                                                             └────────── hub: `follow` ◀── answer ┘

The service never needs the private key; the hub has it. A gateway carries an id out once, so the hub may send it twice.
"""
