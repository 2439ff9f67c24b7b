"""Controls of group_history: each fault that is planted into what members of a group have written down is found, and no other."""
import copy

import pytest
from group_history import commits, faults_of, polled, repeated

# Two members of a group of partitions 0 and 1: the first has both, gives 1 to the second, and dies before a commit had returned.
JOURNALS = {
    "one": [{"at": 1, "name": "assigned", "partitions": [0, 1]},
            {"at": 2, "name": "poll", "records": [[0, 0, "a"], [1, 0, "b"], [0, 1, "c"]]},
            {"at": 3, "name": "committed", "offsets": [[0, 2], [1, 1]]},
            {"at": 4, "name": "poll", "records": [[0, 2, "d"], [0, 4, "e"]]},          # 3: a marker
            {"at": 5, "name": "committed", "offsets": [[0, 5]]},
            {"at": 6, "name": "revoked", "partitions": [1]},
            {"at": 8, "name": "poll", "records": [[0, 5, "f"], [0, 6, "g"]]}],
    "two": [{"at": 7, "name": "assigned", "partitions": [1]},
            {"at": 9, "name": "poll", "records": [[1, 1, "h"]]},
            {"at": 10, "name": "committed", "offsets": [[1, 2]]},
            {"at": 11, "name": "lost", "partitions": [1]},
            {"at": 20, "name": "assigned", "partitions": [0, 1]},
            {"at": 21, "name": "poll", "records": [[0, 5, "f"], [0, 6, "g"], [1, 2, "i"]]},
            {"at": 22, "name": "poll", "records": [[0, 7, "j"]]}],
}
ACKNOWLEDGED = {(partition, offset, value) for events in JOURNALS.values() for event in events if event["name"] == "poll"
                for partition, offset, value in event["records"]}


def test_a_faultless_history():
    assert faults_of(JOURNALS, ACKNOWLEDGED) == {}
    assert (len(polled(JOURNALS)), repeated(JOURNALS), len(commits(JOURNALS))) == (12, 2, 4)


def an_order_in_a_poll(one, two):
    one[1]["records"] = [one[1]["records"][number] for number in (2, 0, 1)]


def a_record_back_between_polls(one, two):
    two[-1]["records"].insert(0, [0, 6, "g"])


def the_same_poll_twice(one, two):
    one.insert(2, dict(one[1]))


def a_record_passed_by_in_a_poll(one, two):
    two[5]["records"] = [[0, 4, "e"], *two[5]["records"][1:]]      # from 4 to 6


def a_record_passed_by_between_polls(one, two):
    two[5]["records"] = two[5]["records"][:1] + two[5]["records"][2:]


def a_commit_before_the_poll_was_written(one, two):
    one[3]["at"] = 5.5


def a_commit_above_what_was_read(one, two):
    two[2]["offsets"] = [[1, 3]]


def a_committed_record_read_again(one, two):
    two[1]["records"].insert(0, [1, 0, "b"])


def a_record_of_another_members_partition(one, two):
    one[-1]["records"].append([1, 1, "h"])


def a_record_after_its_partition_was_lost(one, two):
    two.insert(4, {"at": 12, "name": "poll", "records": [[1, 2, "i"]]})


def a_record_that_nobody_read(one, two):
    two.pop()


def another_value(one, two):
    two[1]["records"][0][2] = "i"


@pytest.mark.parametrize("plant, found", [
    (an_order_in_a_poll, {"twice or back in a poll": [(0, 0)]}),
    (a_record_back_between_polls, {"twice or back without a rebalance": [(0, 6)]}),
    (the_same_poll_twice, {"twice or back without a rebalance": [(0, 0), (1, 0)]}),
    (a_record_passed_by_in_a_poll, {"skipped in a poll": [(0, 5)], "committed and read again": [(0, 4)]}),
    (a_record_passed_by_between_polls, {"skipped between polls": [(0, 6)]}),
    (a_commit_before_the_poll_was_written, {"committed unread": [(0, 2), (0, 4)]}),
    (a_commit_above_what_was_read, {"committed unread": [(1, 2)], "committed and read again": [(1, 2)]}),
    (a_committed_record_read_again, {"committed and read again": [(1, 0)]}),
    (a_record_of_another_members_partition, {"not its own": [(1, 1)]}),
    (a_record_after_its_partition_was_lost, {"not its own": [(1, 2)]}),
    (a_record_that_nobody_read, {"lost": [(0, 7)]}),
    (another_value, {"inconsistent": [((1, 1), "h", "i")]}),
])
def test_control_what_is_planted_is_found(plant, found):
    journals = copy.deepcopy(JOURNALS)
    plant(*journals.values())
    assert faults_of(journals, ACKNOWLEDGED) == found
