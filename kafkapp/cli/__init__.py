"""The command `kafkapp`."""
