"""Faust's partition assignor, sharing out as `streams.kafka.sharing` does.

Faust's own gives each worker up to ceil(partitions / workers) and takes nothing from those who have no more: with 4
shards, two workers keep two each and a third gets nothing, for ever.
"""

from __future__ import annotations

import logging
from typing import Any

from faust.assignor.client_assignment import ClientAssignment
from faust.assignor.partition_assignor import PartitionAssignor

from streams.kafka.sharing import shared_out

log = logging.getLogger("crossmargin")


class EvenAssignor(PartitionAssignor):
    """What members say and are told is Faust's, so that workers with its own assignor may be in the group too."""

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        """Return aiokafka's `ConsumerProtocolMemberAssignment` of each member, from what each says that it held."""
        said = {member: self._get_client_metadata(metadata) for member, metadata in member_metadata.items()}
        self._update_member_urls(said)
        subscriptions = {member: set(metadata.subscription) for member, metadata in member_metadata.items()}
        topics = sorted(set().union(*subscriptions.values()))
        partitions = {topic: cluster.partitions_for_topic(topic) or set() for topic in topics}
        for topic in topics:
            if not partitions[topic]:
                log.warning("topic %s must exist to be shared out, found no partition of it", topic)
        held = {member: metadata.assignment.actives for member, metadata in said.items()}
        assignments = {
            member: ClientAssignment(actives=share, standbys={})
            for member, share in shared_out(partitions, subscriptions, held).items()
        }
        everything = self._get_external_topic_distribution(assignments)
        return self._protocol_assignments(assignments, {}, everything, dict.fromkeys(topics, 0))
