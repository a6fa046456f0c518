/**
 * Finds what a person with a screen reader finds: visible elements by role and name. It runs inside the page, as the body
 * of a function whose arguments are the role, the pattern of the name (or null), and the element to look in (or null).
 */
const [role, pattern, scope] = arguments;
const SELECTORS = {
    button: "button,summary,input[type=submit],input[type=button],[role=button]",
    link: "a[href],[role=link]",
    textbox: "input:not([type]),input[type=text],input[type=email],input[type=password],input[type=search],input[type=tel],"
        + "input[type=url],textarea,[role=textbox],[role=searchbox],[contenteditable=true]",
    field: "input,select,textarea",
    file: "input[type=file]",
    combobox: "select,[role=combobox]",
    checkbox: "input[type=checkbox],[role=checkbox],[role=switch]",
    radio: "input[type=radio],[role=radio]",
    heading: "h1,h2,h3,h4,h5,h6,[role=heading]",
    dialog: "dialog[open],[role=dialog],[role=alertdialog]",
    table: "table,[role=table]",
    row: "tr,[role=row]",
    cell: "td,[role=cell]",
    columnheader: "th,[role=columnheader]",
    list: "ul,ol,[role=list]",
    listitem: "li,[role=listitem]",
    progressbar: "progress,[role=progressbar]",
    navigation: "nav,[role=navigation]",
    main: "main,[role=main]",
    status: "output,[role=status]",
    alert: "[role=alert]",
    region: "section,[role=region]",
    article: "article,[role=article]",
    menuitem: "[role=menuitem],[role=menuitemradio],[role=menuitemcheckbox]",
    option: "option,[role=option]",
    audio: "audio",
};

const clean = (text) => (text ?? "").replace(/\s+/g, " ").trim();

function nameOf(element) {
    const labelled = element.getAttribute("aria-labelledby");
    if (labelled) return clean(labelled.split(/\s+/).map((id) => document.getElementById(id)?.textContent).join(" "));
    const label = element.getAttribute("aria-label");
    if (label) return clean(label);
    if (element.labels?.length) return clean(Array.from(element.labels, (each) => textOf(each)).join(" "));
    if (element.matches("input,select,textarea")) return clean(element.value || element.title || element.placeholder);
    return clean(textOf(element)) || clean(element.title);
}

/** The text without what is hidden from screen readers. */
function textOf(node) {
    if (node.nodeType === Node.TEXT_NODE) return node.data;
    if (node.nodeType !== Node.ELEMENT_NODE) return "";
    if (node.getAttribute("aria-hidden") === "true" || node.hidden) return "";
    if (node.matches("select,script,style")) return "";
    return Array.from(node.childNodes, textOf).join(node.matches("span,b,i,em,strong,a,time") ? "" : " ");
}

function isThere(element) {
    if (element.closest("[aria-hidden=true],[inert]")) return false;
    // The choice of a file is a hidden input, and its label is the button.
    if (role === "file") return true;
    return element.checkVisibility({ checkVisibilityCSS: true, visibilityProperty: true });
}

const expression = pattern === null ? null : new RegExp(pattern, "i");
return Array.from((scope ?? document).querySelectorAll(SELECTORS[role] ?? `[role=${role}]`))
    .filter((element) => isThere(element) && (!expression || expression.test(nameOf(element))));
