"""A site option that no connected cluster carries is an error of the status."""

from stayline.domain.objects import ApplicationType, ConfigObject, Connection, ObjectType
from stayline.domain.topology import SITE_OPTION, TAG_OPTION, WORKSPACE_SECTION, Configuration
from stayline.servers.solution.site_option import MAX_ERRORS, site_option_errors


def centre(workspace: str, **persons: str) -> Configuration:
    """A Workspace with a cluster of Site_A, and persons whose option is set."""
    cluster = ConfigObject(
        type=ObjectType.APPLICATION,
        name="Cluster",
        app_type=ApplicationType.CLUSTER,
        options={WORKSPACE_SECTION: {TAG_OPTION: "Site_A"}},
    )
    application = ConfigObject(
        type=ObjectType.APPLICATION,
        name="Workspace",
        app_type=ApplicationType.WORKSPACE,
        connections=[Connection(server="Cluster")],
        options={WORKSPACE_SECTION: {SITE_OPTION: workspace}} if workspace else {},
    )
    people = [
        ConfigObject(type=ObjectType.PERSON, name=name, options={WORKSPACE_SECTION: {SITE_OPTION: site}})
        for name, site in persons.items()
    ]
    return Configuration([cluster, application, *people], 1)


def test_a_known_site_and_an_unset_option_are_no_error() -> None:
    assert site_option_errors(centre("Site_A", anna="Site_A", berta="")) == []
    assert site_option_errors(centre("")) == []


def test_an_unknown_site_names_the_object_the_clusters_and_the_fix() -> None:
    (error,) = site_option_errors(centre("Site_Q"))
    assert "Application 'Workspace'" in error
    assert "No cluster carries site 'Site_Q'" in error
    assert "Cluster (Site_A)" in error
    assert "Site_A" in error.split("Cluster (Site_A)")[1], "what would mend it"


def test_objects_above_the_application_are_looked_at_too() -> None:
    (error,) = site_option_errors(centre("Site_A", anna="Site_B", berta="Site_A"))
    assert "Person 'anna'" in error


def test_many_do_not_hide_the_rest_of_the_status() -> None:
    errors = site_option_errors(centre("Site_A", **{f"p{number}": "Site_Q" for number in range(100)}))
    assert len(errors) == MAX_ERRORS + 1
    assert errors[-1].startswith("80 more")
