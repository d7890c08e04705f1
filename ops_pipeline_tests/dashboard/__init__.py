"""Tests of the dashboard: its models and markup, and its pages in a real browser."""
