"""Alembic's environment: migrations run where the application's settings lead."""

from logging.config import fileConfig

from alembic import context
from app.db.session import engine
from app.models import Base

if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

if context.is_offline_mode():
    context.configure(
        url=engine.url, target_metadata=Base.metadata, literal_binds=True, dialect_opts={}
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            context.run_migrations()
