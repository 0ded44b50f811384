"""The page that shows what has landed, and how the daemon does: its files, and the policy that they are served with.

One HTML file, its modules and its style; no build, and nothing of anybody else's at run time. What the page shows comes
from others, so the policy lets no script run but these files, and the browser itself refuses text that is to become
markup.
"""

from spoolhouse.explorer.files import POLICY, File, load

__all__ = ["POLICY", "File", "load"]
