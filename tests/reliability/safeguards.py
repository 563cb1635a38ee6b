"""Takes every safeguard out of the code, one at a time, and sees a test fail.

``python -m tests.reliability.safeguards [word …]`` works on temporary copies of this tree; words
choose safeguards by their name. Where the database decides, it takes DATABASE_URL's.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("backups_remote", "panel_site", "tests", "fixtures", "manage.py", "pyproject.toml")
_COPIES = 3
_LONGEST = 180

MODELS = "backups_remote/models.py"
REPORTING = "backups_remote/lifecycle/reporting.py"
SETTLING = "backups_remote/lifecycle/settling.py"
SWEEPING = "backups_remote/lifecycle/sweeping.py"
UPLOADING = "backups_remote/lifecycle/uploading.py"
KEEPING = "backups_remote/lifecycle/keeping.py"
RESTORING = "backups_remote/lifecycle/restoring.py"
STARTING = "backups_remote/lifecycle/starting.py"
ANNOUNCING = "backups_remote/lifecycle/announcing.py"
FINDING = "backups_remote/lifecycle/finding.py"
S3 = "backups_remote/storage/s3.py"
URLS = "backups_remote/urls.py"

GUARDS = "test_guards.py::"
RACES = "test_races.py::"
SWEEP = "test_sweep.py::"
UNCLEAR = "test_unclear_outcomes.py::"
CRASHES = "test_crash_matrix.py::"
KEPT = "tests/test_keeping.py::"
COMMANDS = "tests/test_commands.py::"
SECOND = "tests/test_second_look.py::"
_LEAVES = f"{GUARDS}test_a_transition_starts_only_where_it_may"
_PLANNED = "return [(part.number, part.size) for part in self.parts] == planned"
_SEEN = f"{GUARDS}test_a_transition_is_about_the_upload_that_was_seen"


@dataclass(frozen=True)
class Safeguard:
    """``old``, which stands once in ``file``, is what protects; ``new`` does not."""

    name: str
    file: str
    old: str
    new: str
    test: str
    #: The database that is needed to see it; SQLite lets one writer in at a time.
    database: str = ""


def _guard(transition, old, test=_LEAVES):
    names = {"set_locked": "lock"}
    return Safeguard(
        f"states that {transition} may leave",
        MODELS,
        old,
        _without_guard(old),
        f"{test}[{names.get(transition, transition)}]",
    )


def _without_guard(old):
    guards = [word for word in old.replace("(", " ").replace(",", " ").split() if "_IF_" in word]
    return old.replace(guards[0], "Guard(Q())")


SAFEGUARDS = [
    # The rows
    _guard(
        "start_upload",
        '_IF_UNREPORTED,\n            {"upload_id": self.upload_id},\n            upload_id=',
    ),
    _guard("touch_upload", "_IF_UPLOADING, same, upload_started_at"),
    _guard("record_success", '_IF_UPLOADING,\n            {"upload_id"'),
    _guard("release", "self._move(_IF_REPORTED, self._claimed, claimed_until=None)"),
    _guard(
        "take_back_report", '_IF_REPORTED,\n            self._claimed,\n            checksum=""'
    ),
    _guard("adopt_checksum", '_IF_RECOVERING, {"size"'),
    _guard("complete_uploaded", "_complete(_IF_REPORTED"),
    _guard("complete_proven", "_IF_UPLOADING_OR_FAILED,"),
    _guard("complete_on_node", "_IF_UNREPORTED_OR_FAILED,"),
    _guard("fail", "_fail(_IF_UNREPORTED"),
    _guard("fail_reported", "_fail(_IF_REPORTED"),
    _guard("forget_upload", "_move(_IF_FAILED"),
    _guard("begin_deletion", "_IF_ENDED_UNLOCKED,\n"),
    _guard("cancel_deletion", "_IF_DELETING,\n"),
    _guard("set_locked", "_IF_LOCKABLE if locked"),
    Safeguard(
        "a forced claim is of a reported row",
        MODELS,
        "self._move(_IF_REPORTED, claimed_until=until)",
        "self._move(Guard(Q()), claimed_until=until)",
        f"{_LEAVES}[claim by force]",
    ),
    Safeguard(
        "an upload is replaced by one call only",
        MODELS,
        '{"upload_id": self.upload_id},\n            upload_id=',
        "{},\n            upload_id=",
        f"{RACES}test_eight_that_ask_at_once_get_one_upload",
    ),
    Safeguard(
        "a report is of the upload that was looked at",
        MODELS,
        '{"upload_id": self.upload_id, "upload_started_at": self.upload_started_at},\n'
        "            checksum=checksum",
        "{},\n            checksum=checksum",
        f"{RACES}test_a_report_that_a_new_upload_overtakes_completes_nothing",
    ),
    Safeguard(
        "a failure is of the upload that was seen",
        MODELS,
        'seen = {"upload_id": self.upload_id, ',
        "seen = {",
        f"{_SEEN}[uploading-fail]",
    ),
    Safeguard(
        "a proof is of the upload that was seen",
        MODELS,
        '{"upload_mark": self.upload_mark},',
        "{},",
        f"{_SEEN}[uploading-complete_proven]",
    ),
    Safeguard(
        "only the upload that was aborted is forgotten",
        MODELS,
        'self._move(_IF_FAILED, {"upload_id": self.upload_id}, upload_id="")',
        'self._move(_IF_FAILED, upload_id="")',
        f"{_SEEN}[failed-forget_upload]",
    ),
    Safeguard(
        "one settles at a time (claim)",
        MODELS,
        "free = Backup.objects.settleable(now).filter(pk=self.pk)",
        "free = Backup.objects.reported().filter(pk=self.pk)",
        f"{RACES}test_sixteen_identical_reports_at_once_have_one_effect",
    ),
    Safeguard(
        "a recorded report is claimed at once",
        MODELS,
        "            claimed_until=claimed_until,\n            is_recovered=recovered,",
        "            is_recovered=recovered,",
        f"{RACES}test_sixteen_identical_reports_at_once_have_one_effect",
    ),
    Safeguard(
        "a recovered checksum is of the same size",
        MODELS,
        '_IF_RECOVERING, {"size": report.size},',
        "_IF_RECOVERING, {},",
        f"{GUARDS}test_a_recovery_takes_its_checksum_from_a_report_of_the_same_size_alone",
    ),
    Safeguard(
        "a locked backup is not deleted",
        MODELS,
        "Guard(_ENDED & Q(is_locked=False))",
        "Guard(_ENDED)",
        f"{RACES}test_a_backup_locked_meanwhile_is_not_deleted",
    ),
    Safeguard(
        "a restore begins on an idle server",
        MODELS,
        "cls.objects.filter(pk=pk, status__isnull=True)",
        "cls.objects.filter(pk=pk)",
        f"{GUARDS}test_a_restore_begins_on_an_idle_server_and_clears_its_own_status",
    ),
    Safeguard(
        "a restore clears its own status alone",
        MODELS,
        "cls.objects.filter(pk=pk, status=RESTORING)",
        "cls.objects.filter(pk=pk)",
        f"{GUARDS}test_a_restore_begins_on_an_idle_server_and_clears_its_own_status",
    ),
    # Asking
    Safeguard(
        "the same size gets the same upload",
        UPLOADING,
        "if backup.upload_id and backup.upload_size == size and backup.part_size:",
        "if backup.part_size and not size:",
        f"{UNCLEAR}test_asking_again_gives_the_same_upload_and_another_size_a_new_one",
    ),
    Safeguard(
        "a replaced upload is aborted",
        UPLOADING,
        "_throw_away(backend, replaced[1], replaced[0])",
        "pass",
        f"{UNCLEAR}test_asking_again_gives_the_same_upload_and_another_size_a_new_one",
    ),
    Safeguard(
        "the uploads of those who were too late are aborted",
        UPLOADING,
        "_throw_away(backend, key, upload_id)\n    elif",
        "pass\n    elif",
        f"{RACES}test_eight_that_ask_at_once_get_one_upload",
    ),
    Safeguard(
        "another node's backup does not exist (GET and report)",
        FINDING,
        "Backup.objects.filter(node=node)\n",
        "Backup.objects.filter(node__gte=node)\n",
        f"{GUARDS}test_another_nodes_backup_does_not_exist",
    ),
    Safeguard(
        "another node's backup does not exist (restore)",
        FINDING,
        "Backup.objects.filter(server__node=node)",
        "Backup.objects.filter(server__node__gte=node)",
        f"{GUARDS}test_another_nodes_backup_does_not_exist",
    ),
    # Reports
    Safeguard(
        "the report is recorded before the store is told",
        REPORTING,
        "    recorded = backup.record_success(",
        "    backend.complete_upload(\n"
        "        backup.object_key, backup.upload_id, [part.etag for part in parts]\n"
        "    )\n"
        "    recorded = backup.record_success(",
        f"{UNCLEAR}test_the_report_is_recorded_before_the_store_is_told",
    ),
    Safeguard(
        "a report that does not fit is refused",
        REPORTING,
        "    if problem is not None:",
        "    if problem == 0:",
        f"{UNCLEAR}test_a_report_that_does_not_fit_is_named_and_changes_nothing",
    ),
    Safeguard(
        "the announced parts must be there",
        REPORTING,
        "    if numbers != list(range(1, expected + 1)):",
        "    if not numbers:",
        f"{UNCLEAR}test_parts_that_never_arrived_are_named",
    ),
    Safeguard(
        "the parts must add up to the size",
        REPORTING,
        "    if report.size != stored_size:",
        "    if report.size < 0:",
        f"{UNCLEAR}test_a_part_of_another_length_is_named",
    ),
    Safeguard(
        "the table's 400 for what was completed before",
        REPORTING,
        "if backup.state is Backup.State.COMPLETED and not _is_replay(backup, report):",
        "if backup.state is Backup.State.COMPLETED and not backup.reports_the_same(report):",
        f"{UNCLEAR}test_a_repeat_after_completion_is_the_tables_400",
    ),
    Safeguard(
        "a replay must be identical",
        MODELS,
        "(self.checksum, self.size) == (report.checksum, report.size)",
        "self.size == report.size",
        f"{UNCLEAR}test_the_replay_window_widens_the_204",
    ),
    Safeguard(
        "a failure is recorded though its abort fails",
        REPORTING,
        "    except StorageError as error:\n        logger.warning(",
        "    except ZeroDivisionError as error:\n        logger.warning(",
        f"{UNCLEAR}test_a_failure_whose_abort_fails_is_recorded_all_the_same",
    ),
    Safeguard(
        "one try at each part (report)",
        REPORTING,
        "    parts = pick_parts(backup, parts, said)\n",
        "",
        f"{UNCLEAR}test_a_part_that_was_sent_again_is_taken_once",
    ),
    Safeguard(
        "the try that the node named",
        SETTLING,
        "said is not None and said.get(part.number) == bare_etag(part.etag)",
        "False",
        f"{UNCLEAR}test_the_try_at_a_part_that_the_node_named_is_the_one_taken",
    ),
    Safeguard(
        "one try at each part (recovery)",
        SWEEPING,
        "_Finding(pick_parts(backup, listed), newest",
        "_Finding(listed, newest",
        f"{UNCLEAR}test_a_part_that_was_sent_again_is_recovered_once",
    ),
    # Completing
    Safeguard(
        "Complete is sent once",
        S3,
        "client(COMPLETE_TIMEOUT, attempts=1)",
        "client(COMPLETE_TIMEOUT, attempts=3)",
        f"{UNCLEAR}test_an_unheard_success_is_proven_by_the_object[answer dropped]",
    ),
    Safeguard(
        "Complete has a limit of its own",
        S3,
        "client(COMPLETE_TIMEOUT, attempts=1)",
        "client(3600, attempts=1)",
        f"{UNCLEAR}test_every_call_to_the_store_has_a_limit_and_a_claim_outlasts_them",
    ),
    Safeguard(
        "a claim outlasts a Complete",
        SETTLING,
        "CLAIM: Final = dt.timedelta(minutes=10)",
        "CLAIM: Final = dt.timedelta(seconds=60)",
        f"{UNCLEAR}test_every_call_to_the_store_has_a_limit_and_a_claim_outlasts_them",
    ),
    Safeguard(
        "an unclear answer is settled by HEAD",
        SETTLING,
        "        problem = error\n",
        "        raise\n",
        f"{UNCLEAR}test_an_unheard_success_is_proven_by_the_object[NoSuchUpload]",
    ),
    Safeguard(
        "a clear answer is proven by HEAD too",
        SETTLING,
        "    proof = prove(backup, backend, part_etags=etags, completed_etag=completed_etag)\n"
        "    if proof is not None:",
        "    proof = backend.stat(backup.object_key)\n    if proof is not None:",
        f"{UNCLEAR}test_an_object_of_the_right_size_is_no_proof",
    ),
    Safeguard(
        "what was sent before is looked at first",
        SETTLING,
        "    if look_first:",
        "    if look_first is None:",
        f"{UNCLEAR}test_where_the_object_cannot_be_looked_at_nothing_is_concluded",
    ),
    Safeguard(
        "an object without a proof is none after an unclear Complete",
        SETTLING,
        "    if found is None or found.size != backup.upload_size:",
        "    if found is None:",
        f"{UNCLEAR}test_an_object_of_another_size_is_no_proof_even_with_the_mark",
    ),
    Safeguard(
        "the mark proves whose object it is",
        SETTLING,
        "return found if backup.upload_mark and found.mark == backup.upload_mark else None",
        "return found",
        f"{UNCLEAR}test_an_object_of_the_right_size_is_no_proof",
    ),
    Safeguard(
        "the mark is put into the object",
        S3,
        '{**wanted.get("Metadata", {}), MARK: mark}',
        '{**wanted.get("Metadata", {})}',
        f"{UNCLEAR}test_asking_again_gives_the_same_upload_and_another_size_a_new_one",
    ),
    Safeguard(
        "without metadata the ETag proves it",
        SETTLING,
        "return found if found.etag in known else None",
        "return found",
        f"{UNCLEAR}test_where_a_store_drops_metadata_another_object_is_still_no_proof",
    ),
    Safeguard(
        "a refusal of the parts takes the report back",
        SETTLING,
        "        backup.take_back_report()\n",
        "        pass\n",
        f"{UNCLEAR}test_a_refusal_of_the_parts_takes_the_report_back",
    ),
    Safeguard(
        "an unclear report is released",
        SETTLING,
        "    backup.release()\n",
        "",
        f"{UNCLEAR}test_without_an_object_the_report_is_kept_and_the_node_told_to_repeat[500]",
    ),
    Safeguard(
        "a list that is none is not an empty one",
        S3,
        'if "UploadId" not in page:',
        "if page is None:",
        f"{SWEEP}test_an_unclear_answer_is_no_reason_to_throw_away",
    ),
    Safeguard(
        "a 403 is not a 404",
        S3,
        '_GONE | {"404",',
        '_GONE | {"403", "404",',
        f"{GUARDS}test_an_object_that_cannot_be_looked_at_is_not_taken_for_gone",
    ),
    Safeguard(
        "clients are built once",
        S3,
        "            with self._building:\n                if self._clients is None:",
        "            if True:\n                if True:",
        f"{UNCLEAR}test_threads_share_clients_that_are_built_once",
    ),
    Safeguard(
        "no transaction of the host's spans a store call",
        URLS,
        "        view = transaction.non_atomic_requests(using=alias)(view)",
        "        pass",
        f"{GUARDS}test_a_hosts_atomic_requests_do_not_span_store_calls",
    ),
    # The sweep
    Safeguard(
        "a claimed report is left alone",
        MODELS,
        "self.reported().filter(Q(claimed_until__isnull=True) | Q(claimed_until__lte=moment))",
        "self.reported()",
        f"{SWEEP}test_a_report_that_somebody_is_settling_is_left_to_him",
    ),
    Safeguard(
        "the sweep claims what it settles",
        SWEEPING,
        "[b for b in slice_ if b.claim(claim_end(), by_force=by_force)]",
        "slice_",
        f"{RACES}test_a_report_waits_for_the_command_that_settles_it",
    ),
    Safeguard(
        "what somebody may be settling is not failed",
        SWEEPING,
        "if isinstance(result, UploadNotFound) and stale and may_fail:",
        "if isinstance(result, UploadNotFound) and stale:",
        f"{SWEEP}test_a_report_whose_upload_is_gone_fails_unless_somebody_is_at_it[True]",
    ),
    Safeguard(
        "a young lost report is kept",
        SWEEPING,
        "if isinstance(result, UploadNotFound) and stale and may_fail:",
        "if isinstance(result, UploadNotFound) and may_fail:",
        f"{SWEEP}test_a_young_report_whose_upload_is_gone_is_kept",
    ),
    Safeguard(
        "a part that arrived is a sign of life",
        SWEEPING,
        "        elif self._is_alive(backup, finding):",
        "        elif finding is None:",
        f"{SWEEP}test_a_part_that_has_just_arrived_is_a_sign_of_life",
    ),
    Safeguard(
        "recovered are whole uploads without a hole",
        SWEEPING,
        _PLANNED,
        "return [part.size for part in self.parts] == [size for _, size in planned]",
        f"{SWEEP}test_an_upload_with_a_hole_is_not_whole",
    ),
    Safeguard(
        "recovered are uploads of the announced size",
        SWEEPING,
        _PLANNED,
        "return [part.number for part in self.parts] == [number for number, _ in planned]",
        f"{SWEEP}test_an_upload_of_another_size_is_not_whole",
    ),
    Safeguard(
        "whole uploads are recovered, not aborted",
        SWEEPING,
        "elif self.recover and finding.is_whole_upload(backup):",
        "elif not finding:",
        f"{SWEEP}test_a_whole_upload_is_completed_and_marked",
    ),
    Safeguard(
        "recovery can be turned off",
        SWEEPING,
        "elif self.recover and finding.is_whole_upload(backup):",
        "elif finding.is_whole_upload(backup):",
        f"{SWEEP}test_recovery_can_be_turned_off",
    ),
    Safeguard(
        "the recovered are marked",
        MODELS,
        "            is_recovered=recovered,\n        )\n\n    def claim(",
        "        )\n\n    def claim(",
        f"{SWEEP}test_a_whole_upload_is_completed_and_marked",
    ),
    Safeguard(
        "a finished object is found before an upload is given up",
        SWEEPING,
        "        if finding.proof is not None:",
        "        if finding is None:",
        f"{SWEEP}test_an_object_that_was_finished_unheard_is_found_and_marked",
    ),
    Safeguard(
        "aborts are repeated",
        SWEEPING,
        "        yield self.backups.left_behind().filter(completed_at__lte=now), self._abort_left_behind\n",
        "",
        f"{SWEEP}test_an_abort_that_failed_before_is_repeated",
    ),
    Safeguard(
        "an abort that failed is not forgotten",
        SWEEPING,
        "        if isinstance(result, Exception):\n"
        "            yield _fault(backup, result)\n"
        "        else:\n"
        "            backup.forget_upload()",
        "        if True:\n            backup.forget_upload()",
        f"{SWEEP}test_an_abort_that_failed_before_is_repeated",
    ),
    Safeguard(
        "deletions are finished",
        SWEEPING,
        "        yield deleting.exclude(server__status=RESTORING), self._finish_deletion\n",
        "",
        f"{SWEEP}test_a_deletion_that_was_begun_is_finished",
    ),
    Safeguard(
        "an archive is deleted before its row",
        KEEPING,
        "    erase(backup, get_backend(backup.disk))\n    backup.delete()",
        "    backup.delete()\n    erase(backup, get_backend(backup.disk))",
        f"{GUARDS}test_a_deletion_that_the_store_refuses_keeps_its_row",
    ),
    Safeguard(
        "only keys of ours are orphans",
        SWEEPING,
        "if is_old and backend.parse_key(upload.key) is not None:",
        "if is_old:",
        f"{SWEEP}test_a_foreign_upload_is_never_touched",
    ),
    Safeguard(
        "a key is ours as a whole",
        S3,
        "self._key_pattern.fullmatch(key)",
        "self._key_pattern.match(key)",
        f"{SWEEP}test_a_foreign_upload_is_never_touched",
    ),
    Safeguard(
        "a young upload is no orphan",
        SWEEPING,
        "if is_old and backend.parse_key(upload.key) is not None:",
        "if backend.parse_key(upload.key) is not None:",
        f"{SWEEP}test_a_young_upload_is_nobodys_orphan_yet",
    ),
    Safeguard(
        "an owned upload is no orphan",
        SWEEPING,
        "[upload for upload in uploads if upload.upload_id not in owned]",
        "uploads",
        f"{SWEEP}test_uploads_under_our_keys_that_no_row_owns_are_aborted",
    ),
    Safeguard(
        "a dry run records no recovery",
        SWEEPING,
        "return self.dry_run or backup.record_success(",
        "return backup.record_success(",
        f"{SWEEP}test_a_dry_run_says_it_all_and_changes_nothing",
    ),
    Safeguard(
        "a dry run fails nothing",
        SWEEPING,
        "        if self.dry_run:\n            return True\n",
        "",
        f"{SWEEP}test_a_dry_run_says_it_all_and_changes_nothing",
    ),
    Safeguard(
        "a dry run completes nothing",
        SWEEPING,
        "        if not self.dry_run:\n            if not backup.complete_proven(",
        "        if True:\n            if not backup.complete_proven(",
        f"{SWEEP}test_a_dry_run_says_it_all_and_changes_nothing",
    ),
    Safeguard(
        "a dry run settles nothing",
        SWEEPING,
        "        if self.dry_run:\n            yield from (_outcome(SweepAction.COMPLETED,",
        "        if False:\n            yield from (_outcome(SweepAction.COMPLETED,",
        f"{SWEEP}test_a_dry_run_says_it_all_and_changes_nothing",
    ),
    Safeguard(
        "a dry run aborts nothing",
        SWEEPING,
        "        if self.dry_run:\n            yield from (_outcome(action, backup, why)",
        "        if False:\n            yield from (_outcome(action, backup, why)",
        f"{SWEEP}test_a_dry_run_says_it_all_and_changes_nothing",
    ),
    Safeguard(
        "a dry run deletes nothing",
        SWEEPING,
        "        if self.dry_run:\n            yield from (_outcome(SweepAction.DELETED,",
        "        if False:\n            yield from (_outcome(SweepAction.DELETED,",
        f"{SWEEP}test_a_dry_run_says_it_all_and_changes_nothing",
    ),
    Safeguard(
        "a dry run leaves orphans",
        SWEEPING,
        "    if not dry_run:\n        backend.abort_upload(",
        "    if True:\n        backend.abort_upload(",
        f"{SWEEP}test_a_dry_run_says_it_all_and_changes_nothing",
    ),
    Safeguard(
        "a backup whose store fails stops no other",
        SWEEPING,
        "        except BackupsRemoteError as error:\n            return error\n        except Exception",
        "        except BackupsRemoteError:\n            raise\n        except Exception",
        f"{SWEEP}test_a_backup_whose_store_fails_stops_no_other",
    ),
    Safeguard(
        "a store that lists nothing stops no row",
        SWEEPING,
        "    except (BackupsRemoteError, DatabaseError) as error:\n        yield SweepOutcome(",
        "    except DatabaseError as error:\n        yield SweepOutcome(",
        f"{SWEEP}test_a_store_that_lists_no_uploads_stops_no_row",
    ),
    # The second look
    Safeguard(
        "a failure is of the upload as it was asked for last",
        MODELS,
        'seen = {"upload_id": self.upload_id, "upload_started_at": self.upload_started_at}',
        'seen = {"upload_id": self.upload_id}',
        f"{KEPT}test_a_node_that_asks_again_while_a_sweep_looks_keeps_its_upload",
    ),
    Safeguard(
        "a success is of the upload as it was asked for last",
        MODELS,
        '{"upload_id": self.upload_id, "upload_started_at": self.upload_started_at},\n'
        "            checksum=checksum",
        '{"upload_id": self.upload_id},\n            checksum=checksum',
        f"{KEPT}test_a_node_that_asks_again_while_a_sweep_looks_keeps_its_upload",
    ),
    Safeguard(
        "asking again is a sign of life",
        UPLOADING,
        "won = backup.touch_upload()",
        "won = True",
        f"{KEPT}test_asking_for_the_urls_again_is_a_sign_of_life",
    ),
    Safeguard(
        "release is of the claim that was taken",
        MODELS,
        "self._move(_IF_REPORTED, self._claimed, claimed_until=None)",
        "self._move(_IF_REPORTED, claimed_until=None)",
        f"{KEPT}test_who_has_lost_its_claim_changes_nothing[release]",
    ),
    Safeguard(
        "take_back_report is of the claim that was taken",
        MODELS,
        '_IF_REPORTED,\n            self._claimed,\n            checksum=""',
        '_IF_REPORTED,\n            {},\n            checksum=""',
        f"{KEPT}test_who_has_lost_its_claim_changes_nothing[take_back_report]",
    ),
    Safeguard(
        "fail_reported is of the claim that was taken",
        MODELS,
        "self._fail(_IF_REPORTED, self._claimed)",
        "self._fail(_IF_REPORTED)",
        f"{KEPT}test_who_has_lost_its_claim_changes_nothing[fail_reported]",
    ),
    Safeguard(
        "a report's proof is of the upload that was settled",
        MODELS,
        'same = {"upload_id": self.upload_id}\n        return self._complete(_IF_REPORTED',
        "same = {}\n        return self._complete(_IF_REPORTED",
        f"{KEPT}test_a_proof_completes_the_upload_that_it_is_of",
    ),
    Safeguard(
        "a lost report is as old as the report",
        SWEEPING,
        "heard = backup.reported_at or backup.silent_from",
        "heard = backup.silent_from",
        f"{KEPT}test_a_report_that_the_store_is_slow_about_is_not_failed_by_the_age_of_its_upload",
    ),
    Safeguard(
        "a failed upload is looked for before it is forgotten",
        SWEEPING,
        "self._at_store(batch, prove)",
        "self._at_store(batch, lambda backup, backend: None)",
        f"{KEPT}test_a_report_that_the_store_is_slow_about_is_not_failed_by_the_age_of_its_upload",
    ),
    Safeguard(
        "a recovery that the store refuses is given up",
        SWEEPING,
        "if isinstance(result, UploadRejected):",
        "if result is None:",
        f"{COMMANDS}test_a_whole_upload_that_the_store_refuses_is_given_up",
    ),
    Safeguard(
        "recovered are uploads of the planned parts",
        SWEEPING,
        _PLANNED,
        "return [part.number for part in self.parts] == [n for n, _ in planned] and sum(\n"
        "            part.size for part in self.parts\n"
        "        ) == backup.upload_size",
        f"{SWEEP}test_an_upload_of_other_parts_than_planned_is_not_whole",
    ),
    Safeguard(
        "an orphan whose parts still arrive is spared",
        SWEEPING,
        "if not all(limits.is_past(part.uploaded_at, limits.shortest) for part in parts):",
        "if parts is None:",
        f"{COMMANDS}test_an_orphan_whose_parts_still_arrive_is_spared",
    ),
    Safeguard(
        "the newest backup never gives way",
        KEEPING,
        "for backup in whole[:-1]:",
        "for backup in whole:",
        f"{KEPT}test_the_newest_backup_never_gives_way",
    ),
    Safeguard(
        "what the panel cannot delete does not give way",
        KEEPING,
        "if backup.is_locked or not is_erasable(backup.disk):",
        "if backup.is_locked:",
        f"{KEPT}test_the_newest_backup_never_gives_way",
    ),
    Safeguard(
        "what the panel cannot delete makes no room",
        STARTING,
        "any(is_erasable(disk) for disk in set(disks))",
        "set(disks)",
        f"{KEPT}test_a_server_whose_backups_cannot_give_way_begins_none",
    ),
    Safeguard(
        "a wish is committed when it is answered (durable)",
        STARTING,
        "transaction.atomic(using=database, durable=True)",
        "transaction.atomic(using=database)",
        f"{KEPT}test_a_wish_inside_a_transaction_is_refused",
    ),
    Safeguard(
        "a deletion looks at the server",
        KEEPING,
        "if was_whole and Server.is_restoring(",
        "if was_whole is None and Server.is_restoring(",
        f"{KEPT}test_what_is_being_restored_is_neither_deleted_nor_rotated",
    ),
    Safeguard(
        "a restore looks again once the server is marked",
        RESTORING,
        "        look_again(backup)\n        _refuse_unless_whole(backup)\n",
        "",
        f"{KEPT}test_a_restore_looks_again_after_it_has_marked_the_server",
    ),
    Safeguard(
        "a restore that is refused then leaves the server idle",
        RESTORING,
        "        cancel_restore(backup)\n        raise\n",
        "        raise\n",
        f"{KEPT}test_a_restore_looks_again_after_it_has_marked_the_server",
    ),
    Safeguard(
        "a sweep does not delete what is being restored",
        SWEEPING,
        "deleting.exclude(server__status=RESTORING)",
        "deleting",
        f"{KEPT}test_a_sweep_waits_with_a_deletion_until_the_restore_is_over",
    ),
    Safeguard(
        "an own disk's archive is not restored elsewhere",
        RESTORING,
        "        _refuse_unless_reachable(backup)\n",
        "",
        f"{KEPT}test_an_archive_on_a_nodes_own_disk_stays_behind_when_its_server_moves",
    ),
    Safeguard(
        "a node's word about its own disk counts though it was given up",
        MODELS,
        "            _IF_UNREPORTED_OR_FAILED,\n",
        "            _IF_UNREPORTED,\n",
        f"{CRASHES}test_a_panel_that_dies_over_a_nodes_own_disk_loses_no_word[success]",
    ),
    Safeguard(
        "a deletion looks at the server after its row has changed",
        KEEPING,
        "    if not backup.begin_deletion():\n        return False\n",
        "    if was_whole and Server.is_restoring(backup.server_id):\n"
        '        raise BackupConflict("Its server is being restored.")\n'
        "    return backup.begin_deletion()\n",
        f"{SECOND}test_a_deletion_that_a_restore_overtakes_is_taken_back",
    ),
    Safeguard(
        "only what the daemon unpacks is restored",
        RESTORING,
        "if found.content_type not in _ARCHIVES:",
        "if not found.content_type:",
        f"{SECOND}test_an_object_of_another_content_type_is_not_restored[text/plain-True]",
    ),
    Safeguard(
        "what the store has to thaw first is not restored",
        RESTORING,
        "if not found.is_readable:",
        "if found.is_readable is None:",
        f"{SECOND}test_an_archive_that_the_store_has_to_thaw_is_not_restored",
    ),
    Safeguard(
        "a reported backup is its version",
        MODELS,
        "return self._complete(_IF_REPORTED, same, version_id=proof.version_id)",
        "return self._complete(_IF_REPORTED, same)",
        f"{SECOND}test_in_a_versioned_bucket_a_backup_is_its_version[report]",
    ),
    Safeguard(
        "a proven backup is its version",
        MODELS,
        "            version_id=proof.version_id,\n            is_recovered=recovered,",
        "            is_recovered=recovered,",
        f"{SECOND}test_in_a_versioned_bucket_a_backup_is_its_version[proof]",
    ),
    Safeguard(
        "a link names the version",
        RESTORING,
        "        version_id=backup.version_id,\n        filename",
        '        version_id="",\n        filename',
        f"{SECOND}test_in_a_versioned_bucket_a_backup_is_its_version[report]",
    ),
    Safeguard(
        "a restore looks at the version",
        RESTORING,
        "backend.stat(backup.object_key, version_id=backup.version_id)",
        "backend.stat(backup.object_key)",
        f"{SECOND}test_in_a_versioned_bucket_a_backup_is_its_version[report]",
    ),
    Safeguard(
        "a deletion removes the version",
        KEEPING,
        "    version_id = backup.version_id\n",
        '    version_id = ""\n',
        f"{SECOND}test_in_a_versioned_bucket_a_backup_is_its_version[report]",
    ),
    Safeguard(
        "a deletion looks the version up where the row has none",
        KEEPING,
        "        found = backend.stat(backup.object_key)\n",
        "        found = None\n",
        f"{SECOND}test_a_failed_backup_leaves_no_version_of_its_object",
    ),
    Safeguard(
        "age counts from the newest part",
        SWEEPING,
        "newest=max(part.uploaded_at for part in listed)",
        "newest=min(part.uploaded_at for part in listed)",
        f"{SECOND}test_age_counts_from_the_newest_part",
    ),
    Safeguard(
        "rows without a zone are in the default one",
        SWEEPING,
        "timezone.make_aware(moment, timezone.get_default_timezone())",
        "timezone.make_aware(moment)",
        f"{SECOND}test_the_hosts_time_zone_does_not_age_a_part_that_arrived_just_now",
    ),
    Safeguard(
        "orphans are looked for on every disk in use",
        SWEEPING,
        "return disk == app_settings.default_disk or _on(disk).exists()",
        "return disk == app_settings.default_disk",
        f"{SECOND}test_orphans_are_swept_on_every_disk_that_backups_use",
    ),
    Safeguard(
        "a disk that no backup uses is left alone",
        SWEEPING,
        "if not (asked or _is_used(disk)):",
        "if asked is None:",
        f"{SECOND}test_orphans_are_swept_on_every_disk_that_backups_use",
    ),
    Safeguard(
        "a report goes to the row's disk",
        REPORTING,
        "    backend = get_backend(backup.disk)\n    if not backend.presigned_uploads:\n"
        "        return _take_word",
        "    backend = get_backend(app_settings.default_disk)\n"
        "    if not backend.presigned_uploads:\n        return _take_word",
        f"{SECOND}test_a_backup_ends_on_the_disk_and_under_the_key_it_was_begun_with[success-settings]",
    ),
    Safeguard(
        "a failure goes to the row's disk",
        REPORTING,
        "get_backend(backup.disk).abort_upload(backup.object_key, backup.upload_id)",
        "get_backend(app_settings.default_disk).abort_upload(\n"
        "            backup.object_key, backup.upload_id\n        )",
        f"{SECOND}test_a_backup_ends_on_the_disk_and_under_the_key_it_was_begun_with[failure-settings]",
    ),
    Safeguard(
        "a failure is of the row's key",
        REPORTING,
        "get_backend(backup.disk).abort_upload(backup.object_key, backup.upload_id)",
        "backend = get_backend(backup.disk)\n"
        "        backend.abort_upload(\n"
        "            backend.object_key(backup.server_uuid, backup.uuid), backup.upload_id\n"
        "        )",
        f"{SECOND}test_a_backup_ends_on_the_disk_and_under_the_key_it_was_begun_with[failure-location]",
    ),
    Safeguard(
        "a report is of the row's key",
        SETTLING,
        "    found = backend.stat(backup.object_key)\n",
        "    found = backend.stat(backend.object_key(backup.server_uuid, backup.uuid))\n",
        f"{SECOND}test_a_backup_ends_on_the_disk_and_under_the_key_it_was_begun_with[success-location]",
    ),
    Safeguard(
        "an upload keeps the part size that it was begun with",
        UPLOADING,
        "if backup.upload_id and backup.upload_size == size and backup.part_size:",
        "if backup.part_size == app_settings.max_part_size:",
        f"{SECOND}test_a_backup_ends_on_the_disk_and_under_the_key_it_was_begun_with[success-settings]",
    ),
    Safeguard(
        "a sweep reads the database that is written to",
        SWEEPING,
        "    backups = Backup.objects.using(router.db_for_write(Backup))\n    return",
        "    backups = Backup.objects.all()\n    return",
        f"{SECOND}test_no_rule_is_judged_by_a_replica",
    ),
    Safeguard(
        "rotation reads the database that is written to",
        KEEPING,
        "Backup.objects.using(router.db_for_write(Backup)).filter(server=server)",
        "Backup.objects.filter(server=server)",
        f"{SECOND}test_no_rule_is_judged_by_a_replica",
    ),
    Safeguard(
        "the limit reads the database that is written to",
        STARTING,
        "backups = Backup.objects.using(database).filter(server=server)",
        "backups = Backup.objects.filter(server=server)",
        f"{SECOND}test_no_rule_is_judged_by_a_replica",
    ),
    Safeguard(
        "a deletion looks at the database that is written to",
        MODELS,
        "        here = cls.objects.using(router.db_for_write(cls))\n",
        "        here = cls.objects\n",
        f"{SECOND}test_no_rule_is_judged_by_a_replica",
    ),
    Safeguard(
        "the limit's transaction is on the rows' own database",
        STARTING,
        "transaction.atomic(using=database, durable=True)",
        "transaction.atomic(durable=True)",
        f"{SECOND}test_the_app_may_live_on_a_database_of_its_own",
    ),
    Safeguard(
        "signals wait for the rows' own database",
        ANNOUNCING,
        "        using=router.db_for_write(type(backup), instance=backup),\n",
        "",
        f"{SECOND}test_the_app_may_live_on_a_database_of_its_own",
    ),
    # Limits
    Safeguard(
        "wishes at once are counted one after the other",
        STARTING,
        "        Server.objects.using(database).filter(pk=server.pk).update(updated_at=timezone.now())\n",
        "",
        f"{RACES}test_wishes_at_once_do_not_slip_past_the_limit",
        database="postgres",
    ),
]


def path_of(test):
    """A test by its path; within this package by the module's name alone."""
    return test if test.startswith("tests/") else f"tests/reliability/{test}"


def copy_tree(to):
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, to / name, ignore=shutil.ignore_patterns("__pycache__", "browser")
            )
        elif source.exists():
            shutil.copy(source, to / name)


def run_test(tree, test, *, database_url=""):
    """Whether the test passes there."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"DATABASE_URL": database_url} if database_url else {}),
    }
    arguments = ["-p", "no:cacheprovider", "-x", "-q", "-m", "not torture", "--timeout=100"]

    def run():
        return subprocess.run(
            [sys.executable, "-m", "pytest", *arguments, path_of(test)],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LONGEST,
            check=False,
        )

    done = run()
    if "ERROR at setup" in done.stdout:
        # Stores that start at once may both take a port for free: the next one is theirs alone.
        done = run()
    imported = subprocess.run(
        [sys.executable, "-c", "import backups_remote; print(backups_remote.__file__)"],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert imported.startswith(str(tree)), imported
    # Whatever else went wrong (no such test, no store, no database) proves nothing.
    ended = done.stdout.splitlines()[-1] if done.stdout else ""
    assert re.search(r"\d (passed|failed)", ended), done.stdout + done.stderr
    assert "error" not in ended, done.stdout
    return done.returncode == 0


def try_without(tree, safeguard, database_url):
    path = tree / safeguard.file
    whole = path.read_text(encoding="utf-8")
    assert whole.count(safeguard.old) == 1, safeguard.name
    path.write_text(whole.replace(safeguard.old, safeguard.new), encoding="utf-8")
    try:
        return run_test(tree, safeguard.test, database_url=database_url)
    finally:
        path.write_text(whole, encoding="utf-8")


def table():
    """The table as the documentation shows it."""
    rows = [
        f"| {s.name} | `{s.file.removeprefix('backups_remote/')}` | `{s.test}` |"
        for s in SAFEGUARDS
    ]
    head = ["| safeguard | in | test that fails without it |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows]) + "\n"


def main(words):
    if words == ["--table"]:
        print(table(), end="")
        return False
    url = os.environ.get("DATABASE_URL", "")
    chosen = [s for s in SAFEGUARDS if not words or any(word in s.name for word in words)]
    started = time.monotonic()
    kept, skipped = [], []
    with tempfile.TemporaryDirectory() as directory:
        trees = queue.SimpleQueue()
        for number in range(_COPIES):
            tree = Path(directory).resolve() / str(number)
            tree.mkdir()
            copy_tree(tree)
            trees.put(tree)

        def attempt(safeguard):
            if safeguard.database and safeguard.database not in url:
                return safeguard, None
            tree = trees.get()
            try:
                return safeguard, try_without(tree, safeguard, url if safeguard.database else "")
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(_COPIES) as pool:
            for safeguard, passed in pool.map(attempt, chosen):
                word = {True: "STILL PASSES", False: "fails", None: "skipped"}[passed]
                print(f"{safeguard.name} | {safeguard.test} | {word}", flush=True)
                kept += [safeguard] if passed else []
                skipped += [safeguard] if passed is None else []
    tried = len(chosen) - len(skipped)
    print(
        f"{tried} safeguards taken out, {tried - len(kept)} seen by a test, {len(kept)} by none, "
        f"{len(skipped)} skipped ({time.monotonic() - started:.0f} s)"
    )
    return bool(kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
