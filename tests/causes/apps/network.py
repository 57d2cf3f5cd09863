"""Blocks on sockets: HTTP clients, other protocols, names."""

from __future__ import annotations

import http.client
import os
import smtplib
import socket
import ssl
import urllib.request

import boto3
import httpx
import requests
import urllib3

PORT = int(os.environ["SILENT_PORT"])
URL = f"http://127.0.0.1:{PORT}/slow"
SESSION = requests.Session()


def requests_get() -> None:
    requests.get(URL)


def requests_session() -> None:
    SESSION.post(URL, json={"amount": 3}, timeout=(5, 600))


class Gateway:
    """A thin wrapper, as every code base has one."""

    def __init__(self) -> None:
        self.client = httpx.Client(timeout=None)

    def fetch(self) -> str:
        return self.client.get(URL).text


GATEWAY = Gateway()


def httpx_client() -> None:
    GATEWAY.fetch()


def urllib_urlopen() -> None:
    urllib.request.urlopen(URL).read()


def http_client() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    connection.request("GET", "/slow")
    connection.getresponse()


def urllib3_pool() -> None:
    urllib3.PoolManager().request("GET", URL)


S3 = boto3.client("s3", endpoint_url=URL, region_name="eu-west-1", aws_access_key_id="x",
                  aws_secret_access_key="y")


def boto3_s3() -> None:
    S3.list_buckets()


def socket_recv() -> None:
    with socket.create_connection(("127.0.0.1", PORT)) as client:
        client.recv(1)


def socket_timeout() -> None:
    with socket.create_connection(("127.0.0.1", PORT), timeout=600) as client:
        client.recv(1)


def socket_accept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.accept()


def socket_connect() -> None:
    client = socket.socket()
    client.connect(("127.0.0.1", int(os.environ["FULL_PORT"])))


def tls_handshake() -> None:
    with socket.create_connection(("127.0.0.1", PORT)) as plain:
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def smtp() -> None:
    smtplib.SMTP("127.0.0.1", PORT)


def dns_getaddrinfo() -> None:
    socket.getaddrinfo("db.internal.example", 5432)


def dns_requests() -> None:
    requests.get("http://api.internal.example/")
