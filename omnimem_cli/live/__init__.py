"""Streams that are watched as they happen: events, alerts, questions on the way."""
