"""Modbus TCP: registers polled on a fixed schedule; set-points are written and read back."""
