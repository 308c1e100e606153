"""The dashboard at `/dashboard`: pages for who runs the whole, and the JSON that they are made from.

app = create_app(holdfast, documents)
add_dashboard(app)
"""

from holdfast.dashboard.application import add_dashboard

__all__ = ["add_dashboard"]
