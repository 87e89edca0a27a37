-- Everything with an id of its own: models, versions, experiments, runs, environments, services, serves and artifacts.
-- body is the resource as JSON, but for its id and times: a listing hands it on without parsing it.
-- scope is where the name is unique: 0 in the whole registry, a parent's id among its children, NULL nowhere.
-- Times are microseconds since the epoch, so that ordering by them tells apart what one millisecond holds.
CREATE TABLE resource (
    id ${auto_id},
    kind INTEGER NOT NULL,
    family INTEGER NOT NULL,
    parent_id BIGINT REFERENCES resource (id) ON DELETE CASCADE,
    registered_model_id BIGINT REFERENCES resource (id),
    model_version_id BIGINT REFERENCES resource (id),
    scope BIGINT,
    name ${text} NOT NULL,
    external_id ${text},
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    body ${text} NOT NULL
);
CREATE UNIQUE INDEX resource_name ON resource (kind, name, scope);
CREATE UNIQUE INDEX resource_external_id ON resource (family, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX resource_by_kind ON resource (kind, id);
CREATE INDEX resource_by_family ON resource (family, id);
CREATE INDEX resource_by_created ON resource (kind, created, id);
CREATE INDEX resource_by_updated ON resource (kind, updated, id);
CREATE INDEX resource_by_parent ON resource (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX resource_by_model ON resource (registered_model_id) WHERE registered_model_id IS NOT NULL;
CREATE INDEX resource_by_version ON resource (model_version_id) WHERE model_version_id IS NOT NULL;

-- Artifacts that belong to a second version or run besides the parent that they were created under.
CREATE TABLE attribution (
    parent_id BIGINT NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    artifact_id BIGINT NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    PRIMARY KEY (parent_id, artifact_id)
);
CREATE INDEX attribution_by_artifact ON attribution (artifact_id);

-- One row for each value that a filter can ask for: the contract's own fields, and custom properties (custom = 1).
-- type is s, i, d or b for a string, an integer, a double or a boolean; the last three are numbers.
-- text_key is the first 200 characters of a text, since PostgreSQL limits the size of an index entry.
CREATE TABLE property (
    resource_id BIGINT NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    custom INTEGER NOT NULL,
    name ${text} NOT NULL,
    kind INTEGER NOT NULL,
    type ${text} NOT NULL,
    text_value ${text},
    text_key ${text},
    number_value DOUBLE PRECISION,
    PRIMARY KEY (resource_id, custom, name)
)${clustered};
CREATE INDEX property_text ON property (kind, custom, name, text_key, resource_id) WHERE text_key IS NOT NULL;
CREATE INDEX property_number ON property (kind, custom, name, number_value, resource_id, type)
    WHERE number_value IS NOT NULL;

-- The history of metrics. An absent step or timestamp is the least 64-bit integer, so that the unique index sees it;
-- a NULL value is NaN. repeated counts the points that were posted again with the same step and timestamp.
CREATE TABLE metric_point (
    id ${auto_id},
    metric_id BIGINT NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    run_id BIGINT NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    value DOUBLE PRECISION,
    step BIGINT NOT NULL,
    timestamp BIGINT NOT NULL,
    repeated INTEGER NOT NULL,
    recorded BIGINT NOT NULL,
    extra ${text}
);
CREATE UNIQUE INDEX metric_point_once ON metric_point (metric_id, step, timestamp, repeated);
CREATE INDEX metric_point_by_metric ON metric_point (metric_id, id);
CREATE INDEX metric_point_by_run ON metric_point (run_id, id);

-- The custom properties of points that have any.
CREATE TABLE metric_point_property (
    resource_id BIGINT NOT NULL REFERENCES metric_point (id) ON DELETE CASCADE,
    custom INTEGER NOT NULL,
    name ${text} NOT NULL,
    kind INTEGER NOT NULL,
    type ${text} NOT NULL,
    text_value ${text},
    number_value DOUBLE PRECISION,
    PRIMARY KEY (resource_id, custom, name)
)${clustered}
