"""Handing trained policies on."""
