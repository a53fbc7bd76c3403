#!/usr/bin/env python3
"""Checks Daybook's analytics against figures computed from the raw file, with no code in common.

usage: online_retail.py FILE.csv[.gz] http://HOST:PORT

Plain decimal arithmetic over the CSV; every month, day, country, product and customer is compared with what the
query API answers, and every order's total. Prints each difference; exit status 1 if there is one.
"""

import csv
import gzip
import json
import re
import sys
import urllib.parse
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.client import HTTPConnection
from threading import local

ZERO = Decimal(0)


class Period:
    def __init__(self):
        self.gross = ZERO
        self.refunds = ZERO
        self.orders = set()
        self.quantity = 0
        self.customers = set()
        self.country_gross = defaultdict(Decimal)
        self.country_refunds = defaultdict(Decimal)
        self.country_orders = defaultdict(set)
        self.product_gross = defaultdict(Decimal)
        self.product_refunds = defaultdict(Decimal)
        self.product_quantity = defaultdict(int)
        self.product_orders = defaultdict(set)
        self.product_customers = defaultdict(set)


class Customer:
    def __init__(self):
        self.spend = ZERO
        self.refunds = ZERO
        self.orders = set()
        self.quantity = 0
        self.times = []


def variant_id(code):
    return re.sub(r"[^A-Za-z0-9._~-]", "-", code.strip().upper())


def periods_of(time):
    return "all", time[:4], time[:7], time[:10]


def read(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    periods, customers, totals = defaultdict(Period), defaultdict(Customer), defaultdict(Decimal)
    placed = {}  # an order counts when it was placed: at its first row
    for row in rows:
        quantity, price = int(row["Quantity"]), Decimal(row["UnitPrice"])
        invoice, country = row["InvoiceNo"], row["Country"]
        customer = row["CustomerID"].removesuffix(".0")
        variant, amount = variant_id(row["StockCode"]), quantity * price
        if invoice.startswith("C"):
            for name in periods_of(row["InvoiceDate"]):
                period = periods[name]
                period.refunds -= amount
                period.country_refunds[country] -= amount
                period.product_refunds[variant] -= amount
            if customer:
                customers[customer].refunds -= amount
        elif invoice.startswith("A"):
            continue
        elif quantity > 0 and (price > 0 or customer):
            time = placed.setdefault(invoice, row["InvoiceDate"])
            totals[invoice] += amount
            for name in periods_of(time):
                period = periods[name]
                period.gross += amount
                period.quantity += quantity
                period.orders.add(invoice)
                period.country_gross[country] += amount
                period.country_orders[country].add(invoice)
                period.product_gross[variant] += amount
                period.product_quantity[variant] += quantity
                period.product_orders[variant].add(invoice)
                if customer:
                    period.customers.add(customer)
                    period.product_customers[variant].add(customer)
            if customer:
                of = customers[customer]
                of.spend += amount
                of.quantity += quantity
                of.orders.add(invoice)
                of.times.append(time)
    return periods, customers, totals


class Api:
    """One keep-alive connection for each thread."""

    def __init__(self, base):
        self.host = urllib.parse.urlsplit(base).netloc
        self.threads = local()

    def get(self, path):
        connection = getattr(self.threads, "connection", None)
        if connection is None:
            connection = self.threads.connection = HTTPConnection(self.host, timeout=60)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status == 404:
            return None
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {body[:500]!r}")
        return json.loads(body)


class Checker:
    def __init__(self):
        self.compared = 0
        self.differences = []

    def equal(self, what, expected, actual):
        self.compared += 1
        if expected != actual:
            self.differences.append(f"{what}: from the file {expected}, from the API {actual}")

    def money(self, what, expected, actual):
        self.equal(f"{what} currency", "GBP", actual["currency"])
        self.equal(what, expected, Decimal(actual["amount"]))


def check_sales(check, name, expected, actual):
    check.money(f"{name} gross", expected.gross, actual["gross_revenue"])
    check.money(f"{name} refunds", expected.refunds, actual["refunds"])
    check.money(f"{name} net", expected.gross - expected.refunds, actual["net_revenue"])
    check.equal(f"{name} orders", len(expected.orders), actual["orders"])
    check.equal(f"{name} quantity", expected.quantity, actual["quantity"])
    check.equal(f"{name} customers", len(expected.customers), actual["unique_customers"])
    countries = {row["country"]: row for row in actual["by_country"]}
    names = {c for c in set(expected.country_gross) | set(expected.country_refunds)}
    check.equal(f"{name} countries", names, set(countries))
    for country in names & set(countries):
        row = countries[country]
        check.money(f"{name} {country} gross", expected.country_gross[country], row["gross_revenue"])
        check.money(f"{name} {country} refunds", expected.country_refunds[country], row["refunds"])
        check.equal(f"{name} {country} orders", len(expected.country_orders[country]), row["orders"])
    top = sorted(expected.product_gross, key=lambda v: (-expected.product_gross[v], v))[:100]
    check.equal(f"{name} top products", top, [row["variant_id"] for row in actual["top_products"]])
    for row in actual["top_products"]:
        variant = row["variant_id"]
        check.money(f"{name} top {variant}", expected.product_gross[variant], row["gross_revenue"])
        check.equal(f"{name} top {variant} quantity", expected.product_quantity[variant], row["quantity"])
        check.equal(f"{name} top {variant} orders", len(expected.product_orders[variant]), row["orders"])


def check_daily(check, name, periods, actual):
    days = {day for day in periods if len(day) == 10 and (name == "all" or day.startswith(name))}
    check.equal(f"{name} days", days, {row["date"] for row in actual["daily"]})
    for row in actual["daily"]:
        if row["date"] in days:
            day = periods[row["date"]]
            check.money(f"{name} {row['date']} gross", day.gross, row["gross_revenue"])
            check.money(f"{name} {row['date']} refunds", day.refunds, row["refunds"])
            check.equal(f"{name} {row['date']} orders", len(day.orders), row["orders"])


def check_product(check, name, variant, expected, actual):
    what = f"{name} product {variant}"
    if actual is None:
        check.equal(what, "figures", "404")
        return
    check.money(f"{what} gross", expected.product_gross[variant], actual["gross_revenue"])
    check.money(f"{what} refunds", expected.product_refunds[variant], actual["refunds"])
    check.equal(f"{what} quantity", expected.product_quantity[variant], actual["quantity"])
    check.equal(f"{what} orders", len(expected.product_orders[variant]), actual["orders"])
    check.equal(f"{what} customers", len(expected.product_customers[variant]), actual["unique_customers"])


def check_customer(check, customer, expected, actual):
    what = f"customer {customer}"
    if actual is None:
        check.equal(what, "figures", "404")
        return
    check.equal(f"{what} orders", len(expected.orders), actual["orders"])
    check.money(f"{what} gross", expected.spend, actual["gross_spend"])
    check.money(f"{what} refunds", expected.refunds, actual["refunds"])
    check.money(f"{what} net", expected.spend - expected.refunds, actual["net_spend"])
    if expected.times:
        check.equal(f"{what} first", min(expected.times).replace(" ", "T") + "Z", actual["first_order_at"])
        check.equal(f"{what} last", max(expected.times).replace(" ", "T") + "Z", actual["last_order_at"])


def main(path, base):
    periods, customers, totals = read(path)
    api, check = Api(base), Checker()
    for name, expected in periods.items():
        actual = api.get(f"/v1/analytics/sales?period={name}")
        check_sales(check, name, expected, actual)
        check_daily(check, name, periods, actual)
    with ThreadPoolExecutor(4) as pool:
        wanted = [
            (name, variant)
            for name, period in periods.items()
            if len(name) in (3, 4)
            for variant in set(period.product_gross) | set(period.product_refunds)
        ]
        answers = pool.map(lambda w: api.get(f"/v1/analytics/products/{w[1]}?period={w[0]}"), wanted)
        for (name, variant), actual in zip(wanted, answers):
            check_product(check, name, variant, periods[name], actual)
        names = list(customers)
        for name, actual in zip(names, pool.map(lambda c: api.get(f"/v1/analytics/customers/{c}"), names)):
            check_customer(check, name, customers[name], actual)
        orders = list(totals)
        for order, actual in zip(orders, pool.map(lambda o: api.get(f"/v1/orders/{o}"), orders)):
            if actual is None:
                check.equal(f"order {order}", "an order", "404")
            else:
                check.money(f"order {order} total", totals[order], actual["total"])
    for difference in check.differences[:50]:
        print(difference)
    print(f"{check.compared} figures compared, {len(check.differences)} differ")
    return 1 if check.differences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
