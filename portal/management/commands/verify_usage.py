"""`manage.py verify_usage`: is the usage log complete, per stream, and up to when?

Exits with 1 when a stream misses records or has unresolved dead letters, or when nothing is
proven yet by a gateway that is expected; with 0 otherwise. Duplicates are reported, they break
nothing.
"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metering.errors import MeteringUnavailableError
from metering.queries import StreamProof
from portal import clock
from portal.services.nodes import expected_boots
from portal.usage import reader


class Command(BaseCommand):
    help = "Prove the usage log: received and missing records per stream, and the watermark."

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            proofs = reader().proofs()
            watermark = reader().watermark(expected=expected_boots(), now=clock.now())
        except MeteringUnavailableError as error:
            raise CommandError("The usage log does not answer.") from error
        for proof in proofs:
            self.stdout.write(_line(proof))
        at = f"{watermark.at:%Y-%m-%dT%H:%M:%S.%fZ}" if watermark.at else "nothing proven yet"
        self.stdout.write(f"watermark: {at}")
        for name, reason in watermark.held_by.items():
            self.stdout.write(f"  held back by {name}: {reason}")
        broken = [proof.stream for proof in proofs if not proof.complete or proof.dead_letters]
        if broken or watermark.at is None:
            names = ", ".join(broken) or "no proven seal"
            msg = f"Usage is not complete: {names}."
            raise CommandError(msg)
        self.stdout.write("complete")


def _line(proof: StreamProof) -> str:
    through = f"{proof.complete_through:%Y-%m-%dT%H:%M:%SZ}" if proof.complete_through else "-"
    return (
        f"{proof.stream}: received {proof.received}, missing {proof.missing}, "
        f"duplicates {proof.duplicates}, dead letters {proof.dead_letters}, "
        f"proven through {proof.proven_through} ({through}){', ended' if proof.ended else ''}"
    )
