# Copyright (c) Penstock contributors
# SPDX-License-Identifier: MPL-2.0

"""What Python runs before the simulator: half of moto's time is a log that nobody reads, and a
list of its own directories that it makes for each request."""

import logging

logging.getLogger("werkzeug").setLevel(logging.ERROR)

try:
    from moto import backends

    modules = frozenset(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: modules
except (ImportError, AttributeError):  # another version of it, which is merely slower
    pass
