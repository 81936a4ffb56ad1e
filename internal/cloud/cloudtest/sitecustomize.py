# Copyright (c) Penstock contributors
# SPDX-License-Identifier: MPL-2.0

"""What Python runs before the simulator: more than half of moto's time is a log that nobody
reads, a list of its own directories that it makes for each request, the policies of AWS for
each account, names that it has checked or thought of before, and copies of whole tables. And
what it gets wrong where no request could mend it."""

import copy
import functools
import logging
import threading
import types

logging.getLogger("werkzeug").setLevel(logging.ERROR)

try:
    from moto import backends
    from moto.core import responses

    modules = frozenset(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: modules
    responses.method_names_from_class = functools.cache(responses.method_names_from_class)
except (ImportError, AttributeError):  # another version of it, which is merely slower
    pass

try:
    import xmltodict

    xmltodict._validate_name = functools.lru_cache(10_000)(xmltodict._validate_name)
except (ImportError, AttributeError):
    pass

try:
    from moto.core.serialize import XFormedAttributePicker

    keys_of = XFormedAttributePicker.get_possible_keys

    def get_possible_keys(self, context):
        """What an attribute may be called: it depends on its shape, and on the class that has it."""
        known = vars(context.shape).setdefault("possible_keys", {})
        at = type(context.obj), context.key
        if at not in known:
            known[at] = tuple(dict.fromkeys(keys_of(self, context)))
        return known[at]

    XFormedAttributePicker.get_possible_keys = get_possible_keys
except (ImportError, AttributeError):
    pass

try:
    from moto.iam.models import IAMBackend

    init_aws_policies = IAMBackend._init_aws_policies
    policies = {}  # of AWS, by the region of the backend

    def of_aws(self):
        if self.region_name not in policies:
            policies[self.region_name] = init_aws_policies(self)
        own = [copy.copy(policy) for policy in policies[self.region_name]]
        for policy in own:
            policy.account_id = self.account_id
        return own

    IAMBackend._init_aws_policies = of_aws
except (ImportError, AttributeError):
    pass

try:
    from moto.dynamodb import models
    from moto.dynamodb.models import DynamoDBBackend, DynamoType, Table

    whole = DynamoDBBackend.transact_write_items
    assert models.copy is copy and "original_table_state" in whole.__code__.co_varnames
    here = threading.local()  # the transaction that a thread is in, and what it may have to take back

    def transact_write_items(self, transact_items):
        here.transaction, here.taken = transact_items, {}
        try:
            whole(self, transact_items)
        finally:
            here.taken = None

    def deepcopy(it, memo=None):
        taken = getattr(here, "taken", None)
        if taken is None or not isinstance(it, Table):
            return copy.deepcopy(it, memo)
        if it.name not in taken:
            taken[it.name] = before(it)
        return taken[it.name]

    def before(table):
        """The table as it is, of which a transaction changes only the items that it names."""
        was = copy.copy(table)
        was.items = copy.copy(table.items)
        for op in (op for item in here.transaction for op in item.values()):
            if op.get("TableName") != table.name:
                continue
            key = op.get("Key") or op.get("Item") or {}
            at = table.hash_key_attr in key and DynamoType(key[table.hash_key_attr])
            if not at or at not in table.items:
                continue
            if not table.has_range_key:
                was.items[at] = copy.deepcopy(table.items[at])
                continue
            if was.items[at] is table.items[at]:
                was.items[at] = dict(table.items[at])
            within = table.range_key_attr in key and DynamoType(key[table.range_key_attr])
            if within and within in table.items[at]:
                was.items[at][within] = copy.deepcopy(table.items[at][within])
        return was

    models.copy = types.SimpleNamespace(copy=copy.copy, deepcopy=deepcopy)
    DynamoDBBackend.transact_write_items = transact_write_items
except (ImportError, AttributeError, AssertionError):
    pass

try:
    from moto.kms.models import KmsBackend

    replicate_key = KmsBackend.replicate_key

    def replica(self, *args, **kwargs):
        """A replica of a key has none of the key's aliases and grants."""
        key = replicate_key(self, *args, **kwargs)
        key.aliases, key.grants = {}, {}
        return key

    KmsBackend.replicate_key = replica
except (ImportError, AttributeError):
    pass
