"""The table of journeys."""
from dataclasses import dataclass, field
from typing import Callable

import figures
import journeys_admin as admin
import journeys_basic as basic
import journeys_seeing as seeing
import journeys_telling as telling
import journeys_trouble as trouble
import journeys_upload as upload
import pictures


@dataclass(frozen=True)
class Journey:
    """One journey."""

    name: str
    steps: Callable
    # For journeys that are made of others. Elsewhere, the docstring of the steps says it.
    about: str = ""
    # Engines that cannot go this way, with the reason.
    without: dict = field(default_factory=dict)
    # True for the journeys that every change has to pass, in Chromium alone.
    is_quick: bool = False

    @property
    def description(self):
        return self.about or " ".join(self.steps.__doc__.split())


def look(name, about, role, is_quick=False, **setup):
    return Journey(name, seeing.look(role, **setup), about, is_quick=is_quick)


# They need the DevTools protocol.
CHROMIUM_ALONE = {"firefox": "it is measured in Chromium", "webkit": "it is measured in Chromium"}

PICTURES = {"firefox": "the pictures are of Chromium", "webkit": "the pictures are of Chromium"}

JOURNEYS = [
    Journey("sign in", basic.sign_in, is_quick=True),
    Journey("find", basic.find, is_quick=True),
    Journey("live to the end", basic.live_to_the_end, is_quick=True),
    Journey("transcript and player", basic.transcript_and_player),
    Journey("dead player", trouble.dead_player),
    Journey("incomplete recording", telling.incomplete_recording),
    Journey("failure and retry", basic.failure_and_retry, is_quick=True),
    Journey("correct", basic.correct),
    Journey("manage", basic.manage),
    Journey("delete", basic.delete),
    Journey("patient", basic.patient_view, is_quick=True),
    Journey("upload", upload.upload, is_quick=True),
    Journey("drop", upload.drop),
    Journey("cut and resume", upload.cut_and_resume),
    Journey("reload", upload.reload),
    Journey("notification", telling.notification),
    Journey("wrong address", telling.wrong_address),
    Journey("lost server", trouble.lost_server),
    Journey("stopped server", trouble.stopped_and_started_server),
    Journey("lost database", trouble.lost_database),
    Journey("frozen network", trouble.frozen_network),
    Journey("revoked", trouble.revoked, is_quick=True),
    Journey("ended sign-in", trouble.ended_sign_in),
    Journey("deactivated", trouble.deactivated, is_quick=True),
    Journey("expired", trouble.expired),
    Journey("two tabs", trouble.two_tabs_refreshing),
    Journey("twelve tabs", trouble.twelve_tabs),
    Journey("people", admin.people, is_quick=True),
    Journey("new password", admin.new_password),
    Journey("assignments", admin.assignments, is_quick=True),
    Journey("audit log", admin.audit),
    Journey("live board", admin.board),
    Journey("front page", pictures.front_page, without=PICTURES),
    Journey("first view", figures.first_view, without=CHROMIUM_ALONE),
    Journey("commit to page", figures.commit_to_page, without=CHROMIUM_ALONE),
    Journey("keyboard", seeing.keyboard, is_quick=True),
    Journey("German", seeing.german, "Each view of an administrator in German: no key without words, no English left, nothing cut off."),
    Journey("French", seeing.french, "The same in French."),
    look("wide", "Each view of a therapist at 1280 px, light: axe finds no violation, and nothing is cut off.", "therapist"),
    look("wide, dark", "The same in the dark theme.", "therapist", is_dark=True),
    look("320 px", "The same at 320 px, light.", "therapist", is_quick=True, width=320, height=700),
    look("320 px, dark", "The same at 320 px, dark.", "therapist", width=320, height=700, is_dark=True),
    look("200 %", "The same at 200 %.", "therapist", zoom=2),
    look("reduced motion", "The same with reduced motion: nothing is animated.", "therapist", has_reduced_motion=True),
    look("newcomer, wide, dark", "Each view of a therapist without patients at 1280 px, dark.", "newcomer", is_dark=True),
    look("newcomer, 320 px", "The same at 320 px, light.", "newcomer", width=320, height=700),
    look("administrator, wide", "Each view of an administrator at 1280 px, light.", "admin"),
    look("administrator, wide, dark", "The same in the dark theme.", "admin", is_dark=True),
    look("administrator, 320 px", "The same at 320 px, light.", "admin", width=320, height=700),
    look("administrator, 320 px, dark", "The same at 320 px, dark.", "admin", width=320, height=700, is_dark=True),
    look("patient, wide", "Each view of a patient at 1280 px, light.", "patient"),
    look("patient, wide, dark", "The same in the dark theme.", "patient", is_dark=True),
    look("patient, 320 px", "The same at 320 px, light.", "patient", width=320, height=700),
    look("patient, 320 px, dark", "The same at 320 px, dark.", "patient", width=320, height=700, is_dark=True),
]
