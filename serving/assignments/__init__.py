"""What gateways are told about single machines: settings, terms, and where a twin goes on when its owner changes.

`registry.assign`, `set_settings` ──▶ row wanted ──▶ hub: state put together, signed, sent until ──▶ gateway answers

The registry says what is true; a row only says that it is to be told, and what became of it. A gateway takes the same
twice without harm, so a hub sends again, with longer and longer pauses, while the gateway is online.
"""
