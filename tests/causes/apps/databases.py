"""Blocks on databases, real ones where they are here."""

from __future__ import annotations

import os
import sqlite3
import threading

import psycopg
import psycopg2
import pymongo
import pymysql
import redis
import sqlalchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

PORT = int(os.environ["SILENT_PORT"])
DSN = os.environ.get("PG_DSN", "")
REDIS_PORT = int(os.environ.get("REDIS_PORT", "0"))
FOLDER = os.environ["FOLDER"]


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)


def psycopg2_execute() -> None:
    with psycopg2.connect(DSN) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_sleep(%s)", (600,))


def psycopg2_chained() -> None:
    psycopg2.connect(DSN).cursor().execute("select pg_sleep(600)")


def psycopg2_row_lock() -> None:
    holder = psycopg2.connect(DSN)
    holder.cursor().execute("lock table pg_catalog.pg_statistic_ext in exclusive mode")
    rival = psycopg2.connect(DSN).cursor()
    rival.execute("lock table pg_catalog.pg_statistic_ext in exclusive mode")


def psycopg_execute() -> None:
    with psycopg.connect(DSN) as connection:
        connection.execute("select pg_sleep(600)").fetchone()


class Repository:
    """A layer over the driver."""

    def __init__(self) -> None:
        self.engine = sqlalchemy.create_engine(os.environ.get("PG_URL", "sqlite://"))

    def slow(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(sqlalchemy.text("select pg_sleep(600)"))


REPOSITORY = Repository()


def sqlalchemy_core() -> None:
    REPOSITORY.slow()


def sqlalchemy_orm() -> None:
    with Session(REPOSITORY.engine) as session:
        session.scalars(
            sqlalchemy.select(sqlalchemy.func.pg_sleep(600))
        ).all()


def sqlalchemy_psycopg() -> None:
    engine = sqlalchemy.create_engine(os.environ["PG_URL"].replace("psycopg2", "psycopg"))
    engine.connect().execute(sqlalchemy.text("select pg_sleep(600)"))


def sqlalchemy_pool() -> None:
    engine = sqlalchemy.create_engine(
        os.environ["PG_URL"], pool_size=1, max_overflow=0, pool_timeout=600)
    first = engine.connect()
    engine.connect()
    first.close()


def redis_blpop() -> None:
    redis.Redis(port=REDIS_PORT).blpop(["nothing"])


def redis_silent() -> None:
    redis.Redis(port=PORT, socket_timeout=600).get("key")


def pymysql_connect() -> None:
    pymysql.connect(host="127.0.0.1", port=PORT, user="me")


def pymongo_find() -> None:
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
        "127.0.0.1", PORT, serverSelectionTimeoutMS=600_000)
    client.shop.orders.find_one()


def sqlite_locked() -> None:
    path = os.path.join(FOLDER, "shop.sqlite")
    first = sqlite3.connect(path)
    first.execute("create table if not exists t (x)")
    first.execute("begin exclusive")
    second = sqlite3.connect(path, timeout=600)
    second.execute("insert into t values (1)")


def sqlite_computes() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "with recursive n(i) as (select 1 union all select i + 1 from n limit 400000000) "
        "select count(*) from n").fetchone()


def sqlite_locked_by_thread() -> None:
    path, locked = os.path.join(FOLDER, "thread.sqlite"), threading.Event()

    def hold() -> None:
        holder = sqlite3.connect(path)
        holder.execute("begin exclusive")
        locked.set()
        threading.Event().wait()

    threading.Thread(target=hold, daemon=True).start()
    locked.wait()
    sqlite3.connect(path, timeout=600).execute("create table t (x)")
