"""Imported by every interpreter that finds this folder on its path: arms the crash points that the environment asks for."""

from tests.faults.campaign.points import arm_from_environment

arm_from_environment()
