"""From PostgreSQL to the broker and back: what was sent, what waits, and what was lost."""
