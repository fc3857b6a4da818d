import pytest

from scripts.label_studio_backend.errors import LabelConfigError

pytest.importorskip("defusedxml")

from scripts.label_studio_backend.label_config import read_controls


def config(tags: str, images: str = '<Image name="img" value="$photo"/>') -> str:
    return f"<View>{images}{tags}</View>"


def test_a_control_has_the_names_of_the_projects_tags() -> None:
    tags = '<Header value="Draw"/><BrushLabels name="mask" toName="img"><View><Label value="cat"/></View></BrushLabels>'

    (control,) = read_controls(config(tags))

    assert (control.from_name, control.to_name, control.tag, control.data_key) == ("mask", "img", "BrushLabels", "photo")


def test_each_image_gets_the_first_usable_tag() -> None:
    images = '<Image name="left" value="$a"/><Image name="right" value="$b"/>'
    tags = """
        <RectangleLabels name="box" toName="left"><Label value="cat"/></RectangleLabels>
        <PolygonLabels name="empty" toName="left"/>
        <PolygonLabels name="outline" toName="left"><Label value="cat"/></PolygonLabels>
        <BrushLabels name="mask" toName="left,right"><Label value="cat"/></BrushLabels>"""

    controls = read_controls(config(tags, images))

    assert [(control.from_name, control.to_name, control.data_key) for control in controls] == [
        ("outline", "left", "a"),
        ("mask", "right", "b"),
    ]


@pytest.mark.parametrize(
    ("class_name", "label"),
    [
        ("cat", "Feline"),
        ("lynx", "Feline"),
        ("dog", "dog"),
        ("Dog", "dog"),
        ("cow", "Cattle"),
        ("sheep", "SHEEP"),
        ("horse", None),
    ],
)
def test_a_class_is_mapped_to_the_label_that_predicts_it_or_has_its_name(class_name: str, label: str | None) -> None:
    labels = """
        <Label value="cat" predicted_values="tiger"/>
        <Label value="Feline" predicted_values="cat, lynx"/>
        <Label value="dog"/>
        <Label value="Cattle" alias="cow"/>
        <Label value="SHEEP"/>"""

    (control,) = read_controls(config(f'<BrushLabels name="mask" toName="img">{labels}</BrushLabels>'))

    assert control.label_of(class_name) == label


@pytest.mark.parametrize(
    "tags",
    [
        "",
        '<RectangleLabels name="box" toName="img"><Label value="cat"/></RectangleLabels>',
        '<BrushLabels name="mask" toName="other"><Label value="cat"/></BrushLabels>',
        '<BrushLabels name="mask" toName="img"/>',
        '<BrushLabels toName="img"><Label value="cat"/></BrushLabels>',
    ],
)
def test_a_project_without_a_usable_tag_is_refused_with_an_example(tags: str) -> None:
    with pytest.raises(LabelConfigError, match=r"no <BrushLabels> or <PolygonLabels> with labels for an <Image>, as in <View>"):
        read_controls(config(tags))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<View>",
        "no markup",
        '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;&b;">]><View>&d;</View>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><View>&b;</View>',
        "<View>\x00</View>",
        "\ud800",
    ],
)
def test_text_that_is_not_plain_xml_is_refused(text: str) -> None:
    with pytest.raises(LabelConfigError, match="is not XML"):
        read_controls(text)
