"""One connection to an MQTT 5 broker, held for ever: what the sources of that kind and the link to the centre share."""
