"""What the gateway can do for a model besides asking it. Knows nothing of the API's wire format."""
