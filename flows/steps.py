"""The stages as Prefect tasks: a name and nothing else. No caching here: the store decides what need not run again."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.chain import start_model
from tasks.evaluate.stage import evaluate as evaluate_stage
from tasks.prepare.stage import prepare as prepare_stage
from tasks.prepare.version import add_version, commit_lock
from tasks.quantize.stage import quantize as quantize_stage
from tasks.release import stage as release
from tasks.report.stage import write_report
from tasks.sample.stage import sample_digits
from tasks.train.stage import merge as merge_stage
from tasks.train.stage import train as train_stage

sample = task(name="sample", cache_policy=NO_CACHE)(sample_digits)
prepare = task(name="prepare", cache_policy=NO_CACHE)(prepare_stage)
version = task(name="version", cache_policy=NO_CACHE)(add_version)
start = task(name="start-model", cache_policy=NO_CACHE)(start_model)
train = task(name="train", cache_policy=NO_CACHE)(train_stage)
merge = task(name="merge", cache_policy=NO_CACHE)(merge_stage)
evaluate = task(name="evaluate", task_run_name="evaluate-{model.form}", cache_policy=NO_CACHE)(evaluate_stage)
quantize = task(name="quantize", task_run_name="quantize-{method}", cache_policy=NO_CACHE)(quantize_stage)
ensure_champion = task(name="first-champion", cache_policy=NO_CACHE)(release.ensure_champion)
register = task(name="register", cache_policy=NO_CACHE)(release.register)
smoke = task(name="smoke", cache_policy=NO_CACHE)(release.smoke)
judge = task(name="judge", cache_policy=NO_CACHE)(release.judge)
promote = task(name="promote", cache_policy=NO_CACHE)(release.promote)
rollback = task(name="rollback", cache_policy=NO_CACHE)(release.rollback)
report = task(name="report", cache_policy=NO_CACHE)(write_report)
lock = task(name="dvc-lock", cache_policy=NO_CACHE)(commit_lock)
