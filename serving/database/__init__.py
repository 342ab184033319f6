"""One relational database: its tables, how to connect, how rows go in and come out, and what is forgotten when.

    database = Database(DatabaseSettings(url="sqlite:///centre.db"))
    with database.write() as connection: …      # one transaction
    with database.read() as connection: …

`tables` are SQLAlchemy Core tables, `migrations` (Alembic) make them: `python -m serving.database upgrade`. SQLite
(WAL) and PostgreSQL run the same code and the same tests. `bulk.insert` writes columns, `queries` reads arrays,
`retention` thins and forgets.
"""
