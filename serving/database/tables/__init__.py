"""All tables. Import from here: `from serving.database.tables import assets, prognoses`.

    transport   messages, acks, dead_letters, counts               what came, and what was said about it
    machines    gateways, assets, ownerships, nodes, asset_settings, audit, registry_version
    history     models, layouts, observations, waveform_features, prognoses, latest, summaries, states, thinned
    waveforms   waveforms, waveform_parts
    service     twins, contracts, api_keys, idempotency            the prediction service
    happenings  alarms, alarm_changes, acknowledgements, events, command_answers
    assignments assignments                                        what gateways are to be told of machines
    commands    commands, command_changes                          set-points asked for by people

Small ids (`asset`, `gateway`, `model`, `layout`) stand for names in the large tables. `t` is source time in nanos of
the class (UTC, or cycles × 1e9), `t_rx` when the gateway received it and `at` when the centre did, both UTC nanos.
"""

from serving.database.tables.assignments import assignments as assignments
from serving.database.tables.commands import command_changes as command_changes
from serving.database.tables.commands import commands as commands
from serving.database.tables.happenings import acknowledgements as acknowledgements
from serving.database.tables.happenings import alarm_changes as alarm_changes
from serving.database.tables.happenings import alarms as alarms
from serving.database.tables.happenings import command_answers as command_answers
from serving.database.tables.happenings import events as events
from serving.database.tables.history import latest as latest
from serving.database.tables.history import layouts as layouts
from serving.database.tables.history import models as models
from serving.database.tables.history import observations as observations
from serving.database.tables.history import prognoses as prognoses
from serving.database.tables.history import states as states
from serving.database.tables.history import summaries as summaries
from serving.database.tables.history import thinned as thinned
from serving.database.tables.history import waveform_features as waveform_features
from serving.database.tables.machines import asset_settings as asset_settings
from serving.database.tables.machines import assets as assets
from serving.database.tables.machines import audit as audit
from serving.database.tables.machines import gateways as gateways
from serving.database.tables.machines import nodes as nodes
from serving.database.tables.machines import ownerships as ownerships
from serving.database.tables.machines import registry_version as registry_version
from serving.database.tables.metadata import metadata as metadata
from serving.database.tables.service import api_keys as api_keys
from serving.database.tables.service import contracts as contracts
from serving.database.tables.service import idempotency as idempotency
from serving.database.tables.service import twins as twins
from serving.database.tables.transport import acks as acks
from serving.database.tables.transport import counts as counts
from serving.database.tables.transport import dead_letters as dead_letters
from serving.database.tables.transport import messages as messages
from serving.database.tables.waveforms import waveform_parts as waveform_parts
from serving.database.tables.waveforms import waveforms as waveforms
