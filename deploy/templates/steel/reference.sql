-- Shared reference data of a steel service centre: grades, units, carriers.
--
-- Run: once per tenant database, by the database's owner; may be run again at any time.
-- Grants: none here. The provisioner gives each tenant's role USAGE on the schema and SELECT on its tables, nothing
--   else; whoever owns the tenants' tables needs REFERENCES too, since those tables point here.
-- Never part of a tenant's dump or purge.

CREATE SCHEMA IF NOT EXISTS reference;

CREATE TABLE IF NOT EXISTS reference.grades (
    code            text PRIMARY KEY CHECK (code <> ''),
    material_number text NOT NULL UNIQUE,
    family          text NOT NULL CHECK (family IN ('structural', 'cold-forming', 'coated', 'high-strength',
                                                    'engineering', 'stainless')),
    standard        text NOT NULL,
    density_kg_m3   numeric(6, 0) NOT NULL CHECK (density_kg_m3 BETWEEN 7000 AND 8500)
);
COMMENT ON TABLE reference.grades IS
    'Steel grades: usual name (EN 10027-1 or AISI), EN 10027-2 number, delivery standard, density';

CREATE TABLE IF NOT EXISTS reference.units (
    code      text PRIMARY KEY,
    name      text NOT NULL,
    dimension text NOT NULL CHECK (dimension IN ('mass', 'length', 'area', 'count')),
    factor    numeric NOT NULL CHECK (factor > 0)
);
COMMENT ON COLUMN reference.units.factor IS 'How many kg, m, m2 or pieces one of this unit is';

CREATE TABLE IF NOT EXISTS reference.carriers (
    code    text PRIMARY KEY,
    name    text NOT NULL,
    country char(2) NOT NULL
);
COMMENT ON COLUMN reference.carriers.country IS 'Country of the head office, ISO 3166-1';

INSERT INTO reference.grades (code, material_number, family, standard, density_kg_m3) VALUES
    ('S235JR',     '1.0038', 'structural',    'EN 10025-2',  7850),
    ('S275JR',     '1.0044', 'structural',    'EN 10025-2',  7850),
    ('S355JR',     '1.0045', 'structural',    'EN 10025-2',  7850),
    ('S355J2',     '1.0577', 'structural',    'EN 10025-2',  7850),
    ('DC01',       '1.0330', 'cold-forming',  'EN 10130',    7850),
    ('DC03',       '1.0347', 'cold-forming',  'EN 10130',    7850),
    ('DC04',       '1.0338', 'cold-forming',  'EN 10130',    7850),
    ('DD11',       '1.0332', 'cold-forming',  'EN 10111',    7850),
    ('DX51D+Z',    '1.0917', 'coated',        'EN 10346',    7850),
    ('S420MC',     '1.0980', 'high-strength', 'EN 10149-2',  7850),
    ('S700MC',     '1.8974', 'high-strength', 'EN 10149-2',  7850),
    ('C45',        '1.0503', 'engineering',   'EN ISO 683-1', 7850),
    ('42CrMo4',    '1.7225', 'engineering',   'EN ISO 683-2', 7850),
    ('304',        '1.4301', 'stainless',     'EN 10088-2',  7900),
    ('304L',       '1.4307', 'stainless',     'EN 10088-2',  7900),
    ('316L',       '1.4404', 'stainless',     'EN 10088-2',  8000),
    ('430',        '1.4016', 'stainless',     'EN 10088-2',  7700)
ON CONFLICT DO NOTHING;

INSERT INTO reference.units (code, name, dimension, factor) VALUES
    ('kg',  'kilogram',     'mass',   1),
    ('t',   'tonne',        'mass',   1000),
    ('m',   'metre',        'length', 1),
    ('mm',  'millimetre',   'length', 0.001),
    ('m2',  'square metre', 'area',   1),
    ('pcs', 'piece',        'count',  1)
ON CONFLICT DO NOTHING;

INSERT INTO reference.carriers (code, name, country) VALUES
    ('DACHSER',  'Dachser',        'DE'),
    ('DHLF',     'DHL Freight',    'DE'),
    ('DSV',      'DSV',            'DK'),
    ('GEODIS',   'GEODIS',         'FR'),
    ('KN',       'Kuehne+Nagel',   'CH'),
    ('RABEN',    'Raben Group',    'NL'),
    ('RHENUS',   'Rhenus Logistics', 'DE'),
    ('SCHENKER', 'DB Schenker',    'DE'),
    ('WABERER',  'Waberer''s',     'HU')
ON CONFLICT DO NOTHING;
