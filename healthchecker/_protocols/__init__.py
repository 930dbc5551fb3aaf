"""How to ask: a prober per protocol, each with the codec of its wire format where it needs one."""
