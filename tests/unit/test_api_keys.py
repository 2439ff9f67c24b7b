"""ApiKey: one name for each request, and the protocol's spelling of it."""
import pytest

from kafkapp.testing import ApiKey
from kafkapp.testing.arguments import check_api


def test_each_request_has_a_name_and_the_protocols_spelling_of_it():
    """PRODUCE is the member, Produce an alias; of one request, 18, the protocol has had two names."""
    aliases = {alias: key for alias, key in ApiKey.__members__.items() if alias != key.name}
    assert len(aliases) == len(ApiKey) and all(key.name.isupper() for key in ApiKey)
    assert all(alias.upper() == key.name.replace("_", "") for alias, key in aliases.items() if key != ApiKey.API_VERSIONS)
    assert (repr(ApiKey.Produce), ApiKey.ApiVersion) == ("<ApiKey.PRODUCE: 0>", ApiKey.API_VERSIONS)
    with pytest.raises(ValueError, match="api must be one of PRODUCE, FETCH, LIST_OFFSETS, .*, PUSH_TELEMETRY, not 'produce'"):
        check_api("produce")
