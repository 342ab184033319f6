"""Sparkplug B over MQTT: births, deaths, aliases and rebirth; this gateway is a host application."""
