"""The client's side of a request, and which part of the data plane answers which path."""

from gateway.line.base import BodyOverdue, BodyTooLarge, ClientGone, Line, Surface, find, register

__all__ = ["BodyOverdue", "BodyTooLarge", "ClientGone", "Line", "Surface", "find", "register"]
