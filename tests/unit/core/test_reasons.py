from pathlib import Path

from authz.core.reasons import ANSWERS, GrpcCode, Reason, word_of

ALLOWED = {Reason.RULE, Reason.PUBLIC}


def test_every_reason_has_an_answer_and_no_other_stands_in_the_table():
    assert set(ANSWERS) == set(Reason)


def test_only_an_allow_has_grpc_code_zero():
    assert {reason for reason, answer in ANSWERS.items() if answer.grpc == GrpcCode.OK} == ALLOWED


def test_http_status_and_grpc_code_go_together():
    pairs = {(answer.http, answer.grpc) for answer in ANSWERS.values()}
    assert pairs == {
        (200, GrpcCode.OK),
        (200, GrpcCode.PERMISSION_DENIED),
        (302, GrpcCode.UNAUTHENTICATED),
        (302, GrpcCode.PERMISSION_DENIED),
        (400, GrpcCode.INVALID_ARGUMENT),
        (401, GrpcCode.UNAUTHENTICATED),
        (403, GrpcCode.PERMISSION_DENIED),
        (503, GrpcCode.UNAVAILABLE),
        (503, GrpcCode.INTERNAL),
    }


def test_every_failure_to_authenticate_looks_the_same_outside():
    outside = {
        (answer.public, answer.error)
        for reason, answer in ANSWERS.items()
        if answer.http == 401 and reason is not Reason.NO_TOKEN
    }
    assert outside == {("invalid_token", "invalid_token")}


def test_reasons_are_snake_case_words_of_the_documentation():
    page = (Path(__file__).parents[3] / "docs" / "reasons.md").read_text()
    missing = [reason for reason in Reason if f"`{reason}`" not in page]
    assert missing == []
    assert all(reason == reason.lower().replace("-", "_") for reason in Reason)


def test_the_word_of_a_decision_is_allow_deny_or_issue():
    words = {word: {reason for reason in Reason if word_of(reason) == word} for word in ("allow", "issue", "deny")}
    assert words["allow"] == ALLOWED
    assert words["issue"] == {Reason.RUN_TOKEN_ISSUED}
    assert words["deny"] == set(Reason) - ALLOWED - {Reason.RUN_TOKEN_ISSUED}
