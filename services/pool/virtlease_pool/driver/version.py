"""Versions as libvirt writes them."""


def version(number: int) -> str:
    """9000000 as 9.0.0."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
