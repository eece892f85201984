"""PostgreSQL: migrations, mastership and election, the fenced group writer, one module for each aggregate."""
