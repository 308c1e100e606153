"""Steps: pieces of a job whose results are kept, and effects that happen exactly once."""
