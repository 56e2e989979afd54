"""Nano-dollars: every amount the product computes is a whole number of 10⁻⁹ USD."""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation

NANO = 1_000_000_000
"""Nano-dollars in one US dollar."""

MAX_USD = Decimal(9_000_000_000)
"""Largest amount that fits a signed 64-bit count of nano-dollars."""

_NANO_USD = Decimal("1e-9")
_WIDE = Context(prec=40)
"""Wide enough for every amount in range, whatever the thread's own decimal context is."""


def usd_to_nano(usd: Decimal | int | str) -> int:
    """Whole nano-dollars of an exact USD amount. Raises ValueError where it is no number, too large or finer."""
    try:
        amount = Decimal(usd)
    except InvalidOperation:
        raise ValueError(f"{usd!r} is not an amount in USD") from None
    if not amount.is_finite() or abs(amount) > MAX_USD:
        raise ValueError(f"{usd} USD is out of range")
    whole = amount.quantize(_NANO_USD, context=_WIDE)
    if whole != amount:
        raise ValueError(f"{usd} USD is finer than a nano-dollar (nine decimals)")
    return int(whole.scaleb(9, _WIDE))


def nano_to_usd(nano: int) -> Decimal:
    """The exact USD amount, with nine decimals."""
    return Decimal(nano).scaleb(-9, _WIDE)


def usd_string(nano: int) -> str:
    """An exact decimal string in USD without exponent or trailing zeros: `0.0042`, `1204.5`, `0`."""
    whole, fraction = divmod(abs(nano), NANO)
    digits = f"{whole}.{fraction:09d}".rstrip("0").rstrip(".")
    return f"-{digits}" if nano < 0 else digits


def show_usd(nano: int) -> str:
    """An amount for a sentence, with as many digits as it needs: `$1,204.50`, `$0.0777`, `$0.0042`, `$0.00`.

    From a dollar on it is rounded to cents, from a cent on to a hundredth of one; below that it is exact.
    """
    sign = "-" if nano < 0 else ""
    if NANO // 100 <= abs(nano) < NANO:
        nano = round(nano, -5)
    whole, fraction = divmod(abs(nano), NANO)
    decimals = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    if whole:
        whole, cents = divmod(round(abs(nano), -7) // (NANO // 100), 100)
        decimals = f"{cents:02d}"
    elif len(decimals) == 3:
        decimals += "0"
    return f"{sign}${whole:,}.{decimals}"
