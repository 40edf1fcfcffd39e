"""The bridge: channels of this machine on another one, over TCP.

The only package that knows asyncio. It forwards bodies and never looks into one, so it
needs neither NumPy nor Gymnasium. User code imports nothing from here: ``rlay bridge``
runs it.
"""
