"""The passes, one file each, in the order data flows: trace, quantize, compile, verify, profile."""
