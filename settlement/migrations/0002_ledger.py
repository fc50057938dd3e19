"""The tables of claims and money: partitioned by month, append-only, balanced, under row security.

Insert-only tables have no foreign keys (they cost two thirds of the loading speed); unique keys that
must hold for ever live in unpartitioned tables (settlement_claimkey, settlement_settlement).
"""

from django.db import migrations

SCOPE = "region_code varchar(6) NOT NULL, institution_code varchar(12) NOT NULL"

TABLES = f"""
CREATE SEQUENCE settlement_claim_id_seq AS bigint CACHE 1;

CREATE TABLE settlement_claim (
    id bigint NOT NULL DEFAULT nextval('settlement_claim_id_seq'),
    period date NOT NULL CHECK (extract(day FROM period) = 1),
    {SCOPE},
    claim_no varchar(40) NOT NULL,
    person_id bigint NOT NULL,
    service_date date NOT NULL,
    fee bigint NOT NULL CHECK (fee >= 0),
    facts bytea NOT NULL,
    encounter_id varchar(60) NOT NULL,
    encounter_key bigint NOT NULL,
    shard smallint NOT NULL,
    batch_id bigint,
    chunk integer,
    received_at timestamptz NOT NULL,
    received_by varchar(150) NOT NULL,
    document jsonb NOT NULL,
    PRIMARY KEY (id, period)
) PARTITION BY RANGE (period);
CREATE INDEX settlement_claim_institution ON settlement_claim (institution_code, service_date, id);
CREATE INDEX settlement_claim_person ON settlement_claim (person_id, id);
CREATE INDEX settlement_claim_encounter ON settlement_claim (encounter_key);
CREATE INDEX settlement_claim_chunk ON settlement_claim (batch_id, chunk)
    WHERE batch_id IS NOT NULL;

CREATE TABLE settlement_claimline (
    claim_id bigint NOT NULL,
    line_no smallint NOT NULL CHECK (line_no > 0),
    period date NOT NULL,
    {SCOPE},
    service smallint NOT NULL,
    item_code varchar(20) NOT NULL,
    service_type varchar(40) NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    unit_price bigint NOT NULL CHECK (unit_price >= 0),
    fee bigint NOT NULL CHECK (fee >= 0),
    prescription_no varchar(40) NOT NULL,
    trace_codes varchar(40)[] NOT NULL,
    PRIMARY KEY (claim_id, line_no, period)
) PARTITION BY RANGE (period);

CREATE TABLE settlement_settlement (
    claim_id bigint NOT NULL,
    version smallint NOT NULL CHECK (version > 0),
    state varchar(9) NOT NULL,
    period date NOT NULL CHECK (extract(day FROM period) = 1),
    {SCOPE},
    person_id bigint NOT NULL,
    scheme varchar(8) NOT NULL,
    year smallint NOT NULL,
    service_date date NOT NULL,
    fee bigint NOT NULL,
    in_scope bigint NOT NULL,
    over_cap bigint NOT NULL,
    out_of_scope bigint NOT NULL,
    held bigint NOT NULL,
    fund bigint NOT NULL,
    account bigint NOT NULL,
    cash bigint NOT NULL,
    hospital bigint NOT NULL,
    deductible bigint NOT NULL,
    example boolean NOT NULL,
    batch_id bigint,
    settled_at timestamptz NOT NULL,
    settled_by varchar(150) NOT NULL,
    reason varchar(200) NOT NULL,
    PRIMARY KEY (claim_id, version),
    CONSTRAINT settlement_scope_adds_up CHECK (fee = in_scope + over_cap + out_of_scope + held),
    CONSTRAINT settlement_parts_add_up CHECK (fee = fund + account + cash + hospital + held),
    CONSTRAINT settlement_fund_within_scope CHECK (abs(fund) <= abs(in_scope)),
    CONSTRAINT settlement_reversal_is_second CHECK ((state = 'reversed') = (version = 2)),
    CONSTRAINT settlement_signs CHECK (
        CASE WHEN state = 'reversed'
        THEN greatest(fee, in_scope, over_cap, out_of_scope, held, fund, account, cash, hospital) <= 0
        ELSE least(fee, in_scope, over_cap, out_of_scope, held, fund, account, cash, hospital) >= 0
        END)
);
CREATE INDEX settlement_settlement_state
    ON settlement_settlement (institution_code, state, claim_id);

CREATE TABLE settlement_lineresult (
    claim_id bigint NOT NULL,
    version smallint NOT NULL,
    line_no smallint NOT NULL,
    period date NOT NULL,
    {SCOPE},
    decision smallint NOT NULL CHECK (decision BETWEEN 0 AND 3),
    reason smallint NOT NULL,
    check_no smallint NOT NULL,
    flags integer NOT NULL,
    release_id integer NOT NULL,
    parameters_id integer NOT NULL,
    fee bigint NOT NULL,
    in_scope bigint NOT NULL,
    over_cap bigint NOT NULL,
    overcharge bigint NOT NULL,
    deductible bigint NOT NULL,
    fund bigint NOT NULL,
    PRIMARY KEY (claim_id, version, line_no, period),
    CONSTRAINT line_parts_add_up CHECK (decision <> 0 OR fee = in_scope + over_cap),
    CONSTRAINT line_refused_pays_nothing CHECK (decision = 0 OR fund IN (0, -1)),
    CONSTRAINT line_fund_within_scope CHECK (decision <> 0 OR abs(fund) <= abs(in_scope))
) PARTITION BY RANGE (period);

CREATE TABLE settlement_leg (
    claim_id bigint NOT NULL,
    version smallint NOT NULL,
    account smallint NOT NULL CHECK (account BETWEEN 1 AND 7),
    amount bigint NOT NULL CHECK (amount <> 0),
    period date NOT NULL,
    {SCOPE},
    PRIMARY KEY (claim_id, version, account, period)
) PARTITION BY RANGE (period);

CREATE FUNCTION legs_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong bigint;
BEGIN
    SELECT claim_id INTO wrong FROM inserted
        GROUP BY claim_id, version HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the legs of claim % do not balance', wrong USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER settlement_leg_balance AFTER INSERT ON settlement_leg
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION legs_balance();

CREATE FUNCTION settlement_open_period(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text;
    leaf text;
BEGIN
    IF month <> date_trunc('month', month) THEN
        RAISE EXCEPTION 'a period is the first day of a month';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('settlement_open_period'));
    FOREACH name IN ARRAY ARRAY['claim', 'claimline', 'lineresult', 'leg'] LOOP
        leaf := format('settlement_%s_%s', name, to_char(month, 'YYYY_MM'));
        IF to_regclass(leaf) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                leaf, 'settlement_' || name, month, month + interval '1 month');
            EXECUTE format('REVOKE ALL ON %I FROM mip_app, mip_settler', leaf);
            EXECUTE format(
                'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
                 FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', leaf);
        END IF;
    END LOOP;
END $$;
"""

PROTECTED = ("claim", "claimline", "settlement", "lineresult", "leg", "evidence")

GUARDS = "\n".join(
    f"""
ALTER TABLE settlement_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_{name}
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_{name}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON settlement_{name} FROM mip_app, mip_settler;
"""
    for name in PROTECTED
)

PERSONS = "\n".join(
    f"""
ALTER TABLE settlement_{name} ENABLE ROW LEVEL SECURITY;
CREATE POLICY some_scope ON settlement_{name}
    USING (coalesce(current_setting('app.scope', true), '') <> '');
"""
    for name in ("insuredperson", "accumulator", "chronicdisease", "offlinevisit", "idempotencykey")
)

KEYS = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_claimkey
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON settlement_claimkey FROM mip_app, mip_settler;
"""

UNDO = """
DROP TABLE settlement_leg, settlement_lineresult, settlement_settlement, settlement_claimline,
    settlement_claim;
DROP SEQUENCE settlement_claim_id_seq;
DROP FUNCTION settlement_open_period(date);
DROP FUNCTION legs_balance();
"""


class Migration(migrations.Migration):
    dependencies = (("settlement", "0001_initial"), ("audit", "0002_guards"))
    operations = (migrations.RunSQL(TABLES + GUARDS + PERSONS + KEYS, UNDO),)
