"""Sessions on the application's database."""

from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from app.settings import settings

engine = create_engine(
    settings.database_url,
    pool_pre_ping=True,
    pool_size=5,
    max_overflow=10,
    pool_timeout=10,
    connect_args={"connect_timeout": 5, "application_name": "planner-app"},
)
SessionLocal = sessionmaker(engine, expire_on_commit=False)
