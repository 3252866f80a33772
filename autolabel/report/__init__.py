"""What people look at: the database as pages, tables and terminal text. Nothing here writes to the database."""
