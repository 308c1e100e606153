"""The end of attempts from outside: limits in time, cancellation, shutdown, force."""
