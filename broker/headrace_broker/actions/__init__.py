"""What callers may ask for, one function a verb; called by the RPC services, and by whatever else serves people."""
