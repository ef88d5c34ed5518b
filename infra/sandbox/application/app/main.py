"""The application: `uvicorn app.main:app`, from the folder that holds `alembic.ini`."""

import logging

import redis
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.api import auth, programs, projects
from app.settings import settings

VERSION = "1.0.0"

logging.basicConfig(level=settings.LOG_LEVEL)
logger = logging.getLogger(__name__)

app = FastAPI(title="Planner", version=VERSION, openapi_url="/api/v1/openapi.json")
api = APIRouter(prefix="/api/v1")
for router in (auth.router, programs.router, projects.router):
    api.include_router(router)
app.include_router(api)


@app.get("/")
def root() -> dict[str, str]:
    """Say what this is."""
    return {"name": "Planner", "version": VERSION}


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that the process answers; like Planner's it asks neither database nor cache."""
    return {"status": "healthy"}


@app.exception_handler(IntegrityError)
def _conflict(request: Request, error: Exception) -> JSONResponse:
    logger.warning("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": "The database refused the change"}, 409)


@app.exception_handler(SQLAlchemyError)
def _no_database(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": "Database unavailable"}, 503, {"Retry-After": "1"})


@app.exception_handler(redis.RedisError)
def _no_queue(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": "Queue unavailable"}, 503, {"Retry-After": "1"})
