"""OPC UA: subscriptions to a server's nodes, with its security; set-points are written and read back."""
