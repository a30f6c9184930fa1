"""Settings for Django's own tests; the database is where PGHOST and PGPORT say.

SUITE_RESULTS names the file that gets one line for each test: outcome, tab, name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import TestCase, TextTestResult

from django.test.runner import DiscoverRunner

ENGINE = {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": os.environ["PGHOST"],
    "PORT": os.environ["PGPORT"],
    "USER": "postgres",
    "PASSWORD": "postgres",
}
DATABASES = {"default": ENGINE | {"NAME": "suite"}, "other": ENGINE | {"NAME": "other"}}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "django_settings.Runner"


class Result(TextTestResult):
    """Writes down what became of each test."""

    def startTest(self, test: TestCase) -> None:  # noqa: N802 unittest's name
        self.outcome = "passed"
        super().startTest(test)

    def addFailure(self, test: TestCase, err: Any) -> None:  # noqa: N802
        self.failed(test)
        super().addFailure(test, err)

    def addError(self, test: TestCase, err: Any) -> None:  # noqa: N802
        self.failed(test)
        super().addError(test, err)

    def addSubTest(self, test: TestCase, subtest: TestCase, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.failed(test)
        super().addSubTest(test, subtest, err)

    def addSkip(self, test: TestCase, reason: str) -> None:  # noqa: N802
        self.outcome = "skipped"
        super().addSkip(test, reason)

    def stopTest(self, test: TestCase) -> None:  # noqa: N802
        self.write(self.outcome, test)
        super().stopTest(test)

    def failed(self, test: TestCase) -> None:
        """Keep a failure; one of a whole class, or of a module, belongs to no test that has been started."""
        self.outcome = "failed"
        if not hasattr(test, "_testMethodName"):
            self.write("failed", test)

    def write(self, outcome: str, test: TestCase) -> None:
        with Path(os.environ["SUITE_RESULTS"]).open("a") as results:
            results.write(f"{outcome}\t{test.id()}\n")


class Runner(DiscoverRunner):
    """Django's runner with these results."""

    def get_resultclass(self) -> type[TextTestResult]:
        return super().get_resultclass() or Result
